//! The hub: one watch stream for all watches of a client.
//!
//! One task owns the stream, starts watches on it one after the other (as etcd answers in order and
//! proxies give ids of their own), feeds them, and notices when etcd falls silent.

#[cfg(test)]
mod history;

use crate::{
    config::Config,
    error,
    feed::Feed,
    link::{Failure, Link},
    revision::{Token, Witness},
    telemetry::{self, Counted},
};
use etcd_client::{
    WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream,
    proto::{PbEvent, PbKeyValue},
};
use futures::{StreamExt, future::BoxFuture};
use sd_core::{Change, Entry, Error, Gap, Key, WatchError};
use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    sync::Arc,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

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
    /// stream keeps the token that it was opened with.
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

struct Active {
    id: u64,
    feed: Arc<Feed>,
    /// Up to here its events were known before it began.
    known: i64,
    /// Where it is.
    token: Token,
    /// Events of a response that is not yet whole.
    fragments: Vec<PbEvent>,
    _counted: Counted,
}

enum Stream {
    Closed,
    Opening(BoxFuture<'static, Result<Open, Error>>),
    Open(Box<Open>),
}

struct Open {
    epoch: u64,
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    heard: Instant,
    /// When etcd was asked for a word that it still owes.
    asked: Option<Instant>,
    disrupted: bool,
    /// It has denied a watch.
    denied: bool,
}

enum Input {
    Command(Option<Command>),
    Opened(Result<Open, Error>),
    Response(Option<Result<WatchResponse, etcd_client::Error>>),
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

    fn opened(&mut self, open: Open) {
        if let Some(creating) = &mut self.creating {
            creating.sent = open.heard;
        }
        self.stream = Stream::Open(Box::new(open));
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
        open.heard = Instant::now();
        open.asked = None;
        if std::mem::take(&mut open.disrupted) {
            tracing::info!(watches = self.active.len(), "etcd answers again");
            for active in self.active.values() {
                active.progress();
            }
        }
        let response = response.0;
        if response.created {
            let Some(creating) = self.creating.take() else {
                return;
            };
            if response.canceled {
                let reason = &response.cancel_reason;
                let is_denied = error::is_denied(reason) || error::is_token_refused(reason);
                open.denied |= is_denied;
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
                let cluster = response
                    .header
                    .as_ref()
                    .map_or(0, |header| header.cluster_id);
                self.created(response.watch_id, cluster, creating.request)
                    .await;
            }
        } else if response.canceled {
            if let Some(active) = self.active.remove(&response.watch_id) {
                let error = why_cancelled(response.compact_revision, &response.cancel_reason);
                active.feed.end(error);
                self.reauthenticate(&response.cancel_reason);
            }
            if response.compact_revision > 0 {
                // etcd keeps it until told otherwise, and answers no request for progress while
                // one watch of the stream has not caught up.
                self.cancel_at_etcd(response.watch_id).await;
            }
        } else if let Some(active) = self.active.get_mut(&response.watch_id) {
            let revision = response.header.as_ref().map_or(0, |header| header.revision);
            let is_notice = response.events.is_empty() && active.fragments.is_empty();
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
            if !alive {
                self.active.remove(&response.watch_id);
                self.cancel_at_etcd(response.watch_id).await;
            }
        }
        // Else the answer to a request for progress, or the last words of a cancelled watch. An
        // answer never advances anything: it could overtake events before 3.4.25 and 3.5.8.
    }

    async fn created(&mut self, watch_id: i64, cluster: u64, request: Request) {
        let Stream::Open(open) = &self.stream else {
            return;
        };
        if cluster != request.token.cluster {
            let gap = Gap::Rebuilt("it is another cluster".into());
            let _ = request.opened.send(Err(WatchError::Gap(gap)));
            return self.cancel_at_etcd(watch_id).await;
        }
        let _ = request.opened.send(Ok(Some(open.epoch)));
        let active = Active {
            id: request.id,
            feed: request.feed,
            known: request.token.revision,
            token: request.token,
            fragments: Vec::new(),
            _counted: Counted::new(telemetry::WATCHES),
        };
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
        let word = match open.asked {
            None => open.heard + self.config.probe_interval,
            Some(asked) if open.disrupted => asked + self.config.probe_timeout,
            Some(asked) => asked + self.config.probe_interval.min(self.config.probe_timeout),
        };
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
        match open.asked {
            None if open.heard + self.config.probe_interval <= now => {
                open.asked = Some(now);
                if let Err(error) = send(open.requests.request_progress()).await {
                    self.break_off(error);
                }
            }
            Some(asked) if asked + self.config.probe_timeout <= now => {
                self.break_off(timeout(asked));
            }
            Some(asked) if !open.disrupted && asked + self.config.probe_interval <= now => {
                open.disrupted = true;
                tracing::warn!(
                    watches = self.active.len(),
                    "etcd is silent, keeping what is known"
                );
                telemetry::silent();
                for active in self.active.values() {
                    active.feed.disrupt(timeout(asked));
                }
                // Newer etcds drop a request that comes while one watch of the stream has not
                // caught up.
                if let Err(error) = send(open.requests.request_progress()).await {
                    self.break_off(error);
                }
            }
            None | Some(_) => {}
        }
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
            active.feed.end(WatchError::Interrupted(error.clone()));
        }
        let creating = self.creating.take().map(|creating| creating.request);
        for request in creating.into_iter().chain(self.waiting.drain(..)) {
            let _ = request
                .opened
                .send(Err(WatchError::Interrupted(error.clone())));
        }
    }
}

impl Stream {
    /// What comes next from etcd. Cancellation safe.
    async fn next(&mut self) -> Input {
        match self {
            Self::Closed => pending().await,
            Self::Opening(opening) => Input::Opened(opening.await),
            Self::Open(open) => Input::Response(open.responses.next().await),
        }
    }
}

impl Active {
    /// Tells the reader that all is well, without news.
    fn progress(&self) {
        let resume = self.token.clone().into_revision();
        self.feed.push(Vec::new(), resume, 0);
    }

    /// Takes events of a response, which may go on in the next.
    fn collect(&mut self, events: Vec<PbEvent>) {
        if self.fragments.is_empty() {
            self.fragments = events;
        } else {
            self.fragments.extend(events);
        }
    }

    /// etcd says by itself that there is nothing up to `revision`.
    fn notified(&mut self, revision: i64) {
        if revision > self.token.revision {
            self.token.revision = revision;
            self.progress();
        }
    }

    /// Applies the events that have come; `false` if the feed has ended.
    fn apply(&mut self, config: &Config) -> bool {
        let mut skipped = 0;
        let events = std::mem::take(&mut self.fragments);
        let newest = events.iter().rposition(|event| event.r#type == 0);
        let mut changes = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            let Some(entry) = event.kv else {
                return self.reject("an event without a key");
            };
            let modified = entry.mod_revision;
            if modified <= self.known {
                continue;
            }
            if modified < self.token.revision {
                return self.reject("an event of the past");
            }
            let change = match event.r#type {
                0 => {
                    if Some(index) == newest {
                        let key = entry.key.as_slice().into();
                        self.token.witness = Witness::put(key, modified, entry.lease);
                    }
                    put(config, entry)
                }
                1 => {
                    self.token.witness.deleted(&entry.key, modified);
                    key(config, &entry.key).map(Change::Delete)
                }
                _ => return self.reject("an event of an unknown kind"),
            };
            self.token.revision = modified;
            match change {
                Some(change) => changes.push(change),
                None => skipped += 1,
            }
        }
        if changes.is_empty() && skipped == 0 {
            return true;
        }
        let resume = self.token.clone().into_revision();
        self.feed.push(changes, resume, skipped)
    }

    fn reject(&self, what: &str) -> bool {
        self.feed.end(WatchError::Interrupted(Error::Backend {
            message: format!("etcd sent {what}"),
            transient: true,
            source: None,
        }));
        false
    }
}

fn put(config: &Config, entry: PbKeyValue) -> Option<Change> {
    let key = key(config, &entry.key)?;
    Some(Change::Put(Entry::new(key, entry.value)))
}

fn key(config: &Config, raw: &[u8]) -> Option<Key> {
    Key::new(config.namespace.strip(raw)?).ok()
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

async fn open(
    link: Arc<Link>,
    config: Arc<Config>,
    key: Vec<u8>,
    options: WatchOptions,
) -> Result<Open, Error> {
    let opened = link
        .call("watch", async |connection| {
            let epoch = connection.epoch;
            let stream = connection
                .client
                .watch_client()
                .max_decoding_message_size(config.max_message_bytes)
                .watch(key, Some(options))
                .await?;
            Ok((epoch, stream))
        })
        .await;
    let (epoch, stream) = opened.map_err(|failure: Failure| Error::from(failure))?;
    let (requests, responses) = stream.split();
    Ok(Open {
        epoch,
        requests,
        responses,
        heard: Instant::now(),
        asked: None,
        disrupted: false,
        denied: false,
    })
}

/// Sends a request on the stream. There is room for a hundred; where there is none, nobody has
/// read for long.
async fn send(request: impl Future<Output = Result<(), etcd_client::Error>>) -> Result<(), Error> {
    match timeout(std::time::Duration::from_millis(100), request).await {
        Ok(sent) => sent.map_err(error::translate),
        Err(_) => Err(Error::unavailable("etcd does not read its watch stream")),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
