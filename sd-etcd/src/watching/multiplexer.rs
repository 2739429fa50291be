//! The multiplexer: all watches of a client on one stream.
//!
//! One task owns the stream. It creates watches on it, passes etcd's events on to their buffers
//! without ever waiting for a reader, and notices when etcd falls silent.

use super::{
    liveness::Action,
    requests::{Request, Requests, closed, expired},
    responses::{End, NO_WATCH, Reaction},
    stream::{OpenStream, Stream, StreamEvent, open, send},
    watches::Watches,
};
use crate::{config::Options, connection::Connector, errors, support::MovingTimer};
use etcd_client::WatchResponse;
use sd_core::{Error, Gap, WatchError};
use std::{pin::pin, sync::Arc};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Creates a multiplexer. The future runs until `stop` is cancelled, and then interrupts every watch.
pub(crate) fn new(
    connector: Arc<Connector>,
    options: Arc<Options>,
    stop: CancellationToken,
) -> (Requests, impl Future<Output = ()> + Send) {
    let (requests, receiver) = Requests::new(connector.clone(), options.clone());
    let multiplexer = Multiplexer {
        connector,
        options,
        watches: Watches::default(),
        stream: Stream::Closed,
    };
    (requests, multiplexer.run(receiver, stop))
}

struct Multiplexer {
    connector: Arc<Connector>,
    options: Arc<Options>,
    watches: Watches,
    stream: Stream,
}

impl Multiplexer {
    async fn run(
        mut self,
        mut requests: mpsc::UnboundedReceiver<Request>,
        stop: CancellationToken,
    ) {
        let mut epochs = self.connector.epochs();
        let mut stopped = pin!(stop.cancelled());
        let mut alarm = MovingTimer::default();
        loop {
            let timer = self.timer();
            tokio::select! {
                biased;
                () = &mut stopped => break,
                event = self.stream.next() => match event {
                    StreamEvent::Opened(Ok(stream)) => self.opened(stream),
                    StreamEvent::Opened(Err(error)) => self.interrupt(error),
                    StreamEvent::Response(Some(Ok(response))) => self.respond(response).await,
                    StreamEvent::Response(Some(Err(error))) => self.break_off(errors::translate(error)),
                    StreamEvent::Response(None) => self.break_off(Error::unavailable("the stream ended")),
                    StreamEvent::Read(answer) => self.was_read(answer),
                },
                request = requests.recv() => match request {
                    Some(Request::Watch(watch)) => self.watches.add(watch),
                    Some(Request::Cancel(id)) => {
                        if let Some(watch_id) = self.watches.cancel(id) {
                            self.cancel_at_etcd(watch_id).await;
                        }
                    }
                    Some(Request::Reauthenticate) => self.reauthenticate(),
                    None => break,
                },
                _ = epochs.changed() => self.reconnected(*epochs.borrow_and_update()),
                () = alarm.until(timer) => self.tick().await,
            }
            self.proceed().await;
        }
        self.interrupt(Error::Closed);
        requests.close();
        while let Some(request) = requests.recv().await {
            if let Request::Watch(watch) = request {
                let _ = watch.opened.send(Err(closed()));
            }
        }
    }

    /// Creates the watches that wait, as far as etcd can be asked for them now. Opens the stream with
    /// the first if it is closed, and closes one without watches.
    async fn proceed(&mut self) {
        while !matches!(self.stream, Stream::Opening(_)) {
            let Some((key, options)) = self.watches.create_next(Instant::now()) else {
                if self.watches.is_idle() {
                    self.stream = Stream::Closed;
                }
                return;
            };
            if let Stream::Open(stream) = &mut self.stream {
                let sent = stream.requests.watch(key, Some(options));
                if let Err(error) = send(sent).await {
                    self.break_off(error);
                }
            } else {
                let opening = open(self.connector.clone(), self.options.clone(), key, options);
                self.stream = Stream::Opening(Box::pin(opening));
            }
        }
    }

    fn opened(&mut self, stream: Box<OpenStream>) {
        if stream.epoch != *self.connector.epochs().borrow() {
            // The connection was given up while the stream was opened on it.
            return self.interrupt(Error::unavailable("the connection was given up"));
        }
        for creating in &mut self.watches.creating {
            creating.sent_at = stream.liveness.last_message();
        }
        self.stream = Stream::Open(stream);
    }

    async fn cancel_at_etcd(&mut self, watch_id: i64) {
        if let Stream::Open(stream) = &mut self.stream
            && let Err(error) = send(stream.requests.cancel(watch_id)).await
        {
            self.break_off(error);
        }
    }

    // === responses ===

    async fn respond(&mut self, response: WatchResponse) {
        let Stream::Open(stream) = &mut self.stream else {
            return;
        };
        let response = response.0;
        self.connector.streamed(stream.epoch);
        let (now, asked_at) = (Instant::now(), stream.liveness.asked_at());
        let was_silent = stream.liveness.heard(now);
        if was_silent {
            self.watches.recovered();
        }
        if let Some(asked_at) = asked_at
            && (was_silent || response.watch_id == NO_WATCH)
        {
            self.connector.probed(now - asked_at, was_silent);
        }
        let epoch = stream.epoch;
        let reaction = self.watches.respond(response, &self.options, epoch, now);
        self.react(reaction).await;
    }

    async fn react(&mut self, reaction: Reaction) {
        let Stream::Open(stream) = &mut self.stream else {
            return;
        };
        if reaction.has_progressed {
            stream.liveness.progressed();
        }
        stream.has_denied |= reaction.is_denied;
        if let Some(token) = &reaction.learned {
            stream.learn(token);
        }
        match reaction.end {
            Some(End::Interrupted(error)) => self.interrupt(error),
            Some(End::Broken(error)) => self.break_off(error),
            None => {}
        }
        if let Some(watch_id) = reaction.cancel {
            self.cancel_at_etcd(watch_id).await;
        }
    }

    /// Ends a stream that has denied a watch. The next one is opened with the current token.
    fn reauthenticate(&mut self) {
        if matches!(&self.stream, Stream::Open(stream) if stream.has_denied) {
            self.interrupt(expired());
        }
    }

    // === liveness ===

    /// Returns when [`tick`](Self::tick) is due.
    fn timer(&self) -> Option<Instant> {
        let Stream::Open(stream) = &self.stream else {
            return None;
        };
        if self.watches.is_idle() {
            return None;
        }
        let probe = stream.liveness.timer();
        Some(probe.min(self.create_deadline().unwrap_or(probe)))
    }

    /// Returns when etcd has to have answered a new watch, whatever else it says.
    fn create_deadline(&self) -> Option<Instant> {
        let creating = self.watches.creating.front()?;
        Some(creating.sent_at + self.options.request_timeout)
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        let create_deadline = self.create_deadline();
        let Stream::Open(stream) = &mut self.stream else {
            return;
        };
        let timeout = |after| Error::Timeout {
            operation: "watch",
            after,
        };
        if create_deadline.is_some_and(|deadline| deadline <= now) {
            return self.break_off(timeout(self.options.request_timeout));
        }
        let sent = match stream.liveness.tick(now) {
            Action::None => return,
            Action::RequestProgress => self.request_progress().await,
            // Any answer to it proves that etcd is alive. This one also tells of a wiped etcd where
            // a proxy hides that it was restarted.
            Action::Read => {
                let newest = self.watches.best_token();
                return stream.read(&self.connector, &self.options, newest);
            }
            Action::ReportSilence { .. } => {
                // From the last message: longer than etcd was silent at most, so that who reads it
                // knows what it cannot have cost.
                let silence = now - stream.liveness.last_message();
                let is_slow = self.connector.is_slow();
                self.watches.disrupt(&timeout(silence), is_slow);
                // Newer etcds drop a request that comes while one watch of the stream is behind.
                self.request_progress().await
            }
            Action::GiveUp { since } => Err(timeout(now - since)),
        };
        if let Err(error) = sent {
            self.break_off(error);
        }
    }

    /// Requests progress, or another sign of life if etcd may not answer that now.
    async fn request_progress(&mut self) -> Result<(), Error> {
        let Stream::Open(stream) = &mut self.stream else {
            return Ok(());
        };
        match self.watches.create_empty() {
            Some((key, options)) => send(stream.requests.watch(key, Some(options))).await,
            None => send(stream.requests.request_progress()).await,
        }
    }

    fn was_read(&mut self, answer: Result<(), WatchError>) {
        let epoch = *self.connector.epochs().borrow();
        let Stream::Open(stream) = &mut self.stream else {
            return;
        };
        match answer {
            Err(WatchError::Gap(gap @ Gap::Rebuilt(_))) => {
                // What the watches know by now may be of either history.
                self.watches.end_with_gap(&gap);
                self.interrupt(Error::unavailable(gap.to_string()));
            }
            // etcd did not answer: the connection ended.
            _ if stream.epoch != epoch => {}
            // etcd answered, whatever it says: even that the revision is compacted, or denied.
            _ => {
                stream.was_read();
                if stream.liveness.was_read(Instant::now()) {
                    self.watches.recovered();
                }
            }
        }
    }

    // === the end of a stream ===

    fn reconnected(&mut self, epoch: u64) {
        if let Stream::Open(stream) = &self.stream
            && stream.epoch != epoch
        {
            self.interrupt(Error::unavailable("the connection was given up"));
        }
    }

    /// Gives up the connection, and with it every watch.
    fn break_off(&mut self, error: Error) {
        if let Stream::Open(stream) = &self.stream {
            self.connector.give_up(stream.epoch, &error);
        }
        self.interrupt(error);
    }

    fn interrupt(&mut self, error: Error) {
        self.stream = Stream::Closed;
        self.watches.interrupt(&error);
    }
}

/// No reader is left waiting if the task panics or its runtime ends.
impl Drop for Multiplexer {
    fn drop(&mut self) {
        self.interrupt(Error::Closed);
    }
}
