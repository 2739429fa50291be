//! The hub: one watch stream for all watches of a client.
//!
//! One task owns the stream, starts watches on it one after the other (as etcd answers in order and
//! proxies give ids of their own), feeds them, and notices when etcd falls silent.

mod active;
mod liveness;
mod stream;

use self::{
    active::Active,
    liveness::Due,
    stream::{Fact, Open, Stream, open, send},
};
use crate::{config::Config, error, feed::Feed, link::Link, revision::Token, telemetry};
use etcd_client::{WatchOptions, WatchResponse};
use sd_core::{Error, Gap, WatchError};
use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    sync::Arc,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// The id that etcd gives to what is about no watch: its answer to a request for progress.
const NO_WATCH: i64 = -1;

/// A watch to be started.
pub(crate) struct Request {
    /// Names it among the watches of this client.
    pub(crate) id: u64,
    /// The beginning of its keys, namespace included.
    pub(crate) start: Vec<u8>,
    pub(crate) token: Token,
    pub(crate) feed: Arc<Feed>,
    /// Answered with the epoch of the connection once etcd has it; with nothing if it is denied on
    /// this stream. Etcd 3.4 says the same of a missing right and of a token that has expired, and a
    /// stream keeps the token that it was opened with, or that it was opened with none.
    pub(crate) opened: oneshot::Sender<Result<Option<u64>, WatchError>>,
}

pub(crate) enum Command {
    Watch(Request),
    Cancel(u64),
    /// A watch was denied that is allowed: the stream needs another token.
    Renew,
}

/// Every watch sends three commands at most.
pub(crate) type Commands = mpsc::UnboundedSender<Command>;

/// Runs until `stop` is cancelled; every watch is interrupted then.
pub(crate) async fn run(
    link: Arc<Link>,
    config: Arc<Config>,
    commands: mpsc::UnboundedReceiver<Command>,
    stop: CancellationToken,
) {
    let hub = Hub {
        link,
        config,
        waiting: VecDeque::new(),
        creating: None,
        active: HashMap::new(),
        stream: Stream::Closed,
    };
    hub.run(commands, stop).await;
}

struct Hub {
    link: Arc<Link>,
    config: Arc<Config>,
    /// To be started, oldest first.
    waiting: VecDeque<Request>,
    /// Sent to etcd, not answered.
    creating: Option<Creating>,
    /// By etcd's id.
    active: HashMap<i64, Active>,
    stream: Stream,
}

struct Creating {
    request: Request,
    sent: Instant,
    /// Nobody wants it any more; to be cancelled once etcd has named it.
    cancelled: bool,
}

enum Input {
    Command(Option<Command>),
    Opened(Result<Box<Open>, Error>),
    Response(Option<Result<WatchResponse, etcd_client::Error>>),
    /// What came of a read.
    Read(Result<(), WatchError>),
    /// The connection was given up by somebody else.
    Reconnected,
    Timer,
    Stop,
}

impl Hub {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        stop: CancellationToken,
    ) {
        let mut epochs = self.link.epochs();
        loop {
            let timer = self.timer();
            let input = tokio::select! {
                biased;
                () = stop.cancelled() => Input::Stop,
                input = self.stream.next() => input,
                command = commands.recv() => Input::Command(command),
                _ = epochs.changed() => Input::Reconnected,
                () = until(timer) => Input::Timer,
            };
            match input {
                Input::Stop | Input::Command(None) => break,
                Input::Command(Some(Command::Watch(request))) => self.waiting.push_back(request),
                Input::Command(Some(Command::Cancel(id))) => self.cancel(id).await,
                Input::Command(Some(Command::Renew)) => self.renew(),
                Input::Opened(Ok(open)) => self.opened(open),
                Input::Opened(Err(error)) => self.interrupt(error),
                Input::Response(Some(Ok(response))) => self.respond(response).await,
                Input::Response(Some(Err(error))) => self.break_off(error::translate(error)),
                Input::Response(None) => self.break_off(Error::unavailable("the stream ended")),
                Input::Read(answer) => self.was_read(answer),
                Input::Reconnected => self.reconnected(*epochs.borrow_and_update()),
                Input::Timer => self.tick().await,
            }
            self.proceed().await;
        }
        self.interrupt(Error::Closed);
        commands.close();
        while let Some(command) = commands.recv().await {
            if let Command::Watch(request) = command {
                let closed = WatchError::Interrupted(Error::Closed);
                let _ = request.opened.send(Err(closed));
            }
        }
    }

    /// Opens the stream or starts the next watch, if either is due, and closes the stream that
    /// nobody needs.
    async fn proceed(&mut self) {
        if matches!(self.stream, Stream::Opening(_)) || self.creating.is_some() && self.is_open() {
            return;
        }
        let Some(request) = self.waiting.pop_front() else {
            if self.active.is_empty() && self.creating.is_none() {
                self.stream = Stream::Closed;
            }
            return;
        };
        let key = request.start.clone();
        // From the revision that is known, not from the next: where a watch waits for a revision
        // that etcd has not reached, it answers no request for progress at all (3.6.5), and an idle
        // registry looks like a silent one.
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(request.token.revision)
            .with_progress_notify()
            .with_fragment();
        self.creating = Some(Creating {
            request,
            sent: Instant::now(),
            cancelled: false,
        });
        match &mut self.stream {
            Stream::Open(open) => {
                let sent = open.requests.watch(key, Some(options));
                if let Err(error) = send(sent).await {
                    self.break_off(error);
                }
            }
            Stream::Closed | Stream::Opening(_) => {
                let opening = open(self.link.clone(), self.config.clone(), key, options);
                self.stream = Stream::Opening(Box::pin(opening));
            }
        }
    }

    fn opened(&mut self, open: Box<Open>) {
        if open.epoch != *self.link.epochs().borrow() {
            // It was given up while the stream was opened on it.
            return self.interrupt(Error::unavailable("the connection was given up"));
        }
        if let Some(creating) = &mut self.creating {
            creating.sent = open.liveness.last_word();
        }
        self.stream = Stream::Open(open);
    }

    fn is_open(&self) -> bool {
        matches!(self.stream, Stream::Open(_))
    }

    async fn cancel(&mut self, id: u64) {
        self.waiting.retain(|request| request.id != id);
        if let Some(creating) = &mut self.creating
            && creating.request.id == id
        {
            creating.cancelled = true;
        }
        let named = self.active.iter().find(|(_, active)| active.id == id);
        if let Some(watch_id) = named.map(|(watch_id, _)| *watch_id) {
            self.active.remove(&watch_id);
            self.cancel_at_etcd(watch_id).await;
        }
    }

    async fn cancel_at_etcd(&mut self, watch_id: i64) {
        if let Stream::Open(open) = &mut self.stream
            && let Err(error) = send(open.requests.cancel(watch_id)).await
        {
            self.break_off(error);
        }
    }

    async fn respond(&mut self, response: WatchResponse) {
        let Stream::Open(open) = &mut self.stream else {
            return;
        };
        let response = response.0;
        if open.liveness.heard(Instant::now()) {
            self.answers_again();
        }
        if response.created {
            let Some(creating) = self.creating.take() else {
                return;
            };
            if response.canceled {
                let reason = &response.cancel_reason;
                let is_denied = error::denies_watch(reason);
                if let Stream::Open(open) = &mut self.stream {
                    open.denied |= is_denied;
                }
                let _ = creating.request.opened.send(match is_denied {
                    true => Ok(None),
                    false => Err(why_cancelled(response.compact_revision, reason)),
                });
                if response.compact_revision > 0 {
                    self.cancel_at_etcd(response.watch_id).await;
                }
            } else if creating.cancelled {
                self.cancel_at_etcd(response.watch_id).await;
            } else {
                self.created(response.watch_id, creating.request);
            }
        } else if response.canceled {
            if let Some(active) = self.active.remove(&response.watch_id) {
                let error = why_cancelled(response.compact_revision, &response.cancel_reason);
                active.end(error);
                self.reauthenticate(&response.cancel_reason);
            }
            if response.compact_revision > 0 {
                // etcd keeps it until told otherwise, and answers no request for progress while
                // one watch of the stream has not caught up.
                self.cancel_at_etcd(response.watch_id).await;
            }
        } else if let Some(active) = self.active.get_mut(&response.watch_id) {
            let revision = response.header.as_ref().map_or(0, |header| header.revision);
            let is_notice = response.events.is_empty() && !active.is_collecting();
            active.collect(response.events);
            if response.fragment {
                return;
            }
            let alive = if is_notice {
                active.notified(revision);
                true
            } else {
                active.apply(&self.config)
            };
            if let Stream::Open(open) = &mut self.stream {
                open.learn(active.token(), active.start());
            }
            if !alive {
                self.active.remove(&response.watch_id);
                self.cancel_at_etcd(response.watch_id).await;
            }
        } else if response.watch_id == NO_WATCH
            && let Stream::Open(open) = &mut self.stream
        {
            // It never advances anything: it could overtake events before 3.4.25 and 3.5.8.
            open.liveness.progressed();
        }
        // Else the last words of a cancelled watch.
    }

    fn answers_again(&self) {
        tracing::info!(watches = self.active.len(), "etcd answers again");
        for active in self.active.values() {
            active.progress();
        }
    }

    fn created(&mut self, watch_id: i64, request: Request) {
        let Stream::Open(open) = &mut self.stream else {
            return;
        };
        open.learn(&request.token, &request.start);
        let _ = request.opened.send(Ok(Some(open.epoch)));
        let active = Active::new(request.id, request.start, request.token, request.feed);
        self.active.insert(watch_id, active);
    }

    /// A stream keeps the token that it was opened with, and only a new connection gets another.
    fn reauthenticate(&mut self, reason: &str) {
        if error::is_token_refused(reason) {
            self.break_off(error::cancelled(reason));
        }
    }

    /// Ends the stream on which watches are denied, if that was not done already; the next has the
    /// token that the connection has by now.
    fn renew(&mut self) {
        if matches!(&self.stream, Stream::Open(open) if open.denied) {
            self.interrupt(expired());
        }
    }

    /// When to look whether etcd is still there.
    fn timer(&self) -> Option<Instant> {
        let Stream::Open(open) = &self.stream else {
            return None;
        };
        if self.active.is_empty() && self.creating.is_none() {
            return None;
        }
        let word = open.liveness.timer();
        Some(word.min(self.created_by().unwrap_or(word)))
    }

    /// When etcd has to have answered to a new watch, whatever else it says.
    fn created_by(&self) -> Option<Instant> {
        let creating = self.creating.as_ref()?;
        Some(creating.sent + self.config.request_timeout)
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        let created_by = self.created_by();
        let Stream::Open(open) = &mut self.stream else {
            return;
        };
        let timeout = |since: Instant| Error::Timeout {
            operation: "watch",
            after: now - since,
        };
        if created_by.is_some_and(|by| by <= now) {
            return self.break_off(timeout(now - self.config.request_timeout));
        }
        let sent = match open.liveness.tick(now) {
            Due::Nothing => return,
            Due::Ask => send(open.requests.request_progress()).await,
            Due::Read => return self.read(),
            Due::Silence { asked } => {
                tracing::warn!(
                    watches = self.active.len(),
                    "etcd is silent, keeping what is known"
                );
                telemetry::silent();
                for active in self.active.values() {
                    active.disrupt(timeout(asked));
                }
                // Newer etcds drop a request that comes while one watch of the stream has not
                // caught up.
                send(open.requests.request_progress()).await
            }
            Due::Loss { asked } => Err(timeout(asked)),
        };
        if let Err(error) = sent {
            self.break_off(error);
        }
    }

    /// Reads what a watch knew of etcd's history: an answer of any kind is a proof of life, and this
    /// one also tells of a wiped etcd where a proxy hides that it was restarted.
    fn read(&mut self) {
        let newest = self
            .active
            .values()
            .max_by_key(|active| active.token().rank());
        let newest = newest.map(|active| Fact::new(active.token(), active.start()));
        let request = self.creating.as_ref().map(|creating| &creating.request);
        let begun = request.map(|request| Fact::new(&request.token, &request.start));
        if let Stream::Open(open) = &mut self.stream {
            open.read(&self.link, &self.config, newest.or(begun));
        }
    }

    fn was_read(&mut self, answer: Result<(), WatchError>) {
        let epoch = *self.link.epochs().borrow();
        let Stream::Open(open) = &mut self.stream else {
            return;
        };
        match answer {
            Err(WatchError::Gap(gap @ Gap::Rebuilt(_))) => self.rebuilt(gap),
            // It was not etcd's answer, but the end of the connection.
            _ if open.epoch != epoch => {}
            // Whatever it says, etcd says it; even that the revision is compacted, or denied.
            _ => {
                open.was_read();
                if open.liveness.read(Instant::now()) {
                    self.answers_again();
                }
            }
        }
    }

    /// Ends every watch with a gap: what they know by now may be of either history.
    fn rebuilt(&mut self, gap: Gap) {
        let why = Error::unavailable(gap.to_string());
        for (_, active) in self.active.drain() {
            active.end(WatchError::Gap(gap.clone()));
        }
        self.interrupt(why);
    }

    fn reconnected(&mut self, epoch: u64) {
        if let Stream::Open(open) = &self.stream
            && open.epoch != epoch
        {
            self.interrupt(Error::unavailable("the connection was given up"));
        }
    }

    /// Gives up the connection and with it every watch.
    fn break_off(&mut self, error: Error) {
        if let Stream::Open(open) = &self.stream {
            self.link.fail(open.epoch, &error);
        }
        self.interrupt(error);
    }

    /// Ends every watch; whoever still wants one starts it anew.
    fn interrupt(&mut self, error: Error) {
        self.stream = Stream::Closed;
        if !self.active.is_empty() && !matches!(error, Error::Closed) {
            // The link has said that it gave up the connection.
            tracing::debug!(watches = self.active.len(), %error, "watches interrupted");
            telemetry::watches_interrupted(self.active.len());
        }
        for (_, active) in self.active.drain() {
            active.end(WatchError::Interrupted(error.clone()));
        }
        let creating = self.creating.take().map(|creating| creating.request);
        for request in creating.into_iter().chain(self.waiting.drain(..)) {
            let _ = request
                .opened
                .send(Err(WatchError::Interrupted(error.clone())));
        }
    }
}

fn why_cancelled(compact_revision: i64, reason: &str) -> WatchError {
    if compact_revision > 0 {
        WatchError::Gap(Gap::Compacted)
    } else {
        WatchError::Interrupted(error::cancelled(reason))
    }
}

pub(crate) fn expired() -> Error {
    Error::unavailable("the token of the watch stream has expired")
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
