//! The task that watches a client's own keys.

use super::{
    OwnKeys, Span,
    stream::{Stream, StreamEvent, open},
};
use crate::{
    config::Options,
    connection::Connector,
    errors,
    support::{retry_backoff, sleep_until_some},
};
use etcd_client::{WatchOptions, proto::PbWatchResponse};
use sd_core::{Backoff, Error, ErrorChain, Escaped};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long keys are collected before watches are changed, so that a hundred registrations need one watch.
const COLLECT: Duration = Duration::from_millis(50);
/// The shortest time between changes of the watches.
const PAUSE: Duration = Duration::from_secs(1);
/// When to try again what was denied: at first soon, since etcd denies a watch also where only the token has expired, and
/// a fleet that gets new ones may wait for them. Rights may be granted at any time.
const FIRST_DENIED_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_DENIED_PAUSE: Duration = Duration::from_secs(60);
/// How often a watch is asked for before it counts as denied. A stream keeps the token that it was opened with, so the
/// second time is on another stream.
const MAX_DENIALS: u32 = 2;
/// How long etcd may take to take a request off the stream.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Watches `own` keys until `stop` is cancelled.
///
/// On the connection for leases, which exists anyway. It is given up by whoever renews the leases on it, so that the
/// stream needs no signs of life of its own.
pub(crate) async fn watch(
    own: Arc<OwnKeys>,
    connector: Arc<Connector>,
    options: Arc<Options>,
    stop: CancellationToken,
) {
    let mut epochs = connector.epochs();
    let mut watcher = Watcher {
        own: own.clone(),
        connector,
        options,
        stream: Stream::Closed,
        watches: BTreeMap::new(),
        queue: VecDeque::new(),
        creating: None,
        denied: HashMap::new(),
        missed: Vec::new(),
        has_lost: false,
        plan_at: Some(Instant::now()),
        planned_at: None,
        backoff: retry_backoff(),
    };
    loop {
        watcher.proceed().await;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            event = watcher.stream.next() => watcher.handle(event).await,
            _ = epochs.changed() => watcher.reconnected(),
            () = sleep_until_some(watcher.plan_at), if watcher.can_plan() => watcher.plan().await,
            () = own.changed.notified() => watcher.plan_soon(),
        }
    }
}

struct Watcher {
    own: Arc<OwnKeys>,
    connector: Arc<Connector>,
    options: Arc<Options>,
    stream: Stream,
    /// By directory.
    watches: BTreeMap<Vec<u8>, Active>,
    queue: VecDeque<Creation>,
    /// What etcd was asked for last. One at a time: a proxy gives ids of its own.
    creating: Option<Creation>,
    denied: HashMap<Vec<u8>, Denied>,
    /// Where changes may have been missed. The sessions are told once all watches stand.
    missed: Vec<Span>,
    /// The stream was lost, and changes may have been missed since.
    has_lost: bool,
    plan_at: Option<Instant>,
    /// When watches were changed last.
    planned_at: Option<Instant>,
    backoff: Backoff,
}

struct Active {
    span: Span,
    watch_id: i64,
}

/// A watch to be created.
struct Creation {
    directory: Vec<u8>,
    span: Span,
    /// The revision from which to watch; 0 for now.
    since: i64,
    /// The newest key that was known.
    last_id: u64,
    /// Changes before it may have been missed.
    has_missed: bool,
}

struct Denied {
    times: u32,
    until: Instant,
}

impl Watcher {
    // === which watches ===

    /// Changes the watches once other keys have been waited for.
    fn plan_soon(&mut self) {
        let now = Instant::now();
        let earliest = self.planned_at.map_or(now, |at| now.max(at + PAUSE));
        self.plan_at.get_or_insert(earliest + COLLECT);
    }

    /// Whether nothing that was planned before is still to be done.
    fn can_plan(&self) -> bool {
        self.creating.is_none() && self.queue.is_empty()
    }

    async fn plan(&mut self) {
        let now = Instant::now();
        self.plan_at = None;
        let (spans, last_id) = self.own.plan();
        self.denied
            .retain(|directory, _| spans.contains_key(directory));
        let gone: Vec<_> = {
            let watches = self.watches.keys();
            let gone = watches.filter(|directory| !spans.contains_key(*directory));
            gone.cloned().collect()
        };
        for directory in gone {
            if let Some(active) = self.watches.remove(&directory) {
                self.cancel(active.watch_id).await;
            }
        }
        if spans.is_empty() {
            self.stream = Stream::Closed;
            self.has_lost = false;
            return;
        }
        for (directory, span) in spans {
            if let Some(denied) = self.denied.get(&directory)
                && denied.times >= MAX_DENIALS
                && now < denied.until
            {
                let until = denied.until;
                self.plan_at = Some(self.plan_at.map_or(until, |at| at.min(until)));
                continue;
            }
            if self
                .watches
                .get(&directory)
                .is_some_and(|it| it.span.has_ends_of(&span))
            {
                // A watch that stands reports on what is put while it does.
                self.own.covered(&span, last_id);
                continue;
            }
            let has_missed = self.has_lost || self.denied.contains_key(&directory);
            self.queue.push_back(Creation {
                directory,
                since: span.new_since.filter(|_| !has_missed).unwrap_or(0),
                span,
                last_id,
                has_missed,
            });
        }
        if !self.queue.is_empty() {
            self.planned_at = Some(now);
        }
        self.has_lost = false;
    }

    // === the stream ===

    /// Asks etcd for the next watch.
    async fn proceed(&mut self) {
        if self.creating.is_some() {
            return;
        }
        let Some(creation) = self.queue.pop_front() else {
            return;
        };
        let mut watch = WatchOptions::new().with_fragment();
        if let Some(end) = creation.span.range_end() {
            watch = watch.with_range(end);
        }
        if creation.since > 0 {
            watch = watch.with_start_revision(creation.since);
        }
        let key = creation.span.first.clone();
        self.creating = Some(creation);
        match &mut self.stream {
            Stream::Open(stream) => {
                let sent = timeout(SEND_TIMEOUT, stream.requests.watch(key, Some(watch))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    self.lost(&Error::unavailable("etcd does not read the stream"));
                }
            }
            Stream::Closed | Stream::Opening(_) => {
                let (connector, options) = (self.connector.clone(), self.options.clone());
                let opening = async move { open(&connector, &options, key, watch).await };
                self.stream = Stream::Opening(Box::pin(opening));
            }
        }
    }

    async fn handle(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Opened(Ok(stream)) => {
                let is_current = stream.epoch == *self.connector.epochs().borrow();
                self.stream = Stream::Open(stream);
                if !is_current {
                    self.lost(&Error::unavailable("the connection was given up"));
                }
            }
            StreamEvent::Opened(Err(error)) if matches!(error, Error::PermissionDenied { .. }) => {
                self.denied(&error);
            }
            StreamEvent::Opened(Err(error)) | StreamEvent::Ended(error) => self.lost(&error),
            StreamEvent::Response(response) if response.created => self.created(&response).await,
            StreamEvent::Response(response) if response.canceled => self.cancelled(&response),
            StreamEvent::Response(response) => {
                for entry in response.events.into_iter().filter_map(|event| event.kv) {
                    self.own.sighted(&entry.key, entry.mod_revision);
                }
            }
        }
    }

    async fn created(&mut self, response: &PbWatchResponse) {
        let Some(creation) = self.creating.take() else {
            return self.lost(&errors::broken("a watch that nobody asked for"));
        };
        if response.canceled {
            let error = errors::translate_cancel_reason(&response.cancel_reason);
            let is_denied = errors::denies_watch(&response.cancel_reason);
            self.creating = Some(creation);
            return match is_denied {
                true => self.denied(&error),
                false => self.lost(&error),
            };
        }
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if revision < creation.since {
            // etcd was rolled back. The watch would wait for a revision that says nothing.
            return self.lost(&Error::unavailable("the history of etcd went back"));
        }
        self.backoff.reset();
        self.denied.remove(&creation.directory);
        self.own.covered(&creation.span, creation.last_id);
        if creation.has_missed {
            self.missed.push(creation.span.clone());
        }
        // Once for all, so that a session with keys in many directories verifies once.
        if self.queue.is_empty() {
            for span in self.missed.drain(..) {
                self.own.missed(&span);
            }
        }
        let active = Active {
            span: creation.span,
            watch_id: response.watch_id,
        };
        // The one before it has reported until here.
        if let Some(before) = self.watches.insert(creation.directory, active) {
            self.cancel(before.watch_id).await;
        }
    }

    fn cancelled(&mut self, response: &PbWatchResponse) {
        let mut watches = self.watches.values();
        if watches.any(|it| it.watch_id == response.watch_id) {
            let error = match response.compact_revision > 0 {
                true => Error::unavailable("the watch was behind, and its history compacted"),
                false => errors::translate_cancel_reason(&response.cancel_reason),
            };
            self.lost(&error);
        }
    }

    async fn cancel(&mut self, watch_id: i64) {
        if let Stream::Open(stream) = &mut self.stream {
            let sent = timeout(SEND_TIMEOUT, stream.requests.cancel(watch_id)).await;
            if !matches!(sent, Ok(Ok(()))) {
                self.lost(&Error::unavailable("etcd does not read the stream"));
            }
        }
    }

    // === the end of a stream ===

    /// Handles that what etcd was asked for last is denied: perhaps to this stream alone.
    fn denied(&mut self, error: &Error) {
        if let Some(creation) = self.creating.take() {
            let denied = self.denied.entry(creation.directory.clone());
            let denied = denied.or_insert(Denied {
                times: 0,
                until: Instant::now(),
            });
            denied.times += 1;
            let doublings = denied.times.saturating_sub(MAX_DENIALS).min(6);
            let pause = FIRST_DENIED_PAUSE * (1 << doublings);
            denied.until = Instant::now() + pause.min(LONGEST_DENIED_PAUSE);
            if denied.times == MAX_DENIALS {
                tracing::info!(
                    directory = %Escaped(String::from_utf8_lossy(&creation.directory)),
                    error = %ErrorChain(error),
                    "own keys cannot be watched: changes by others are noticed by the next verification"
                );
            }
        }
        self.lost(error);
    }

    fn reconnected(&mut self) {
        let epoch = *self.connector.epochs().borrow();
        if let Stream::Open(stream) = &self.stream
            && stream.epoch != epoch
        {
            self.lost(&Error::unavailable("the connection was given up"));
        }
    }

    /// Starts all watches anew, after a pause.
    fn lost(&mut self, error: &Error) {
        tracing::debug!(error = %ErrorChain(error), "the watches of own keys are started anew");
        self.stream = Stream::Closed;
        self.watches.clear();
        self.queue.clear();
        self.creating = None;
        self.missed.clear();
        self.has_lost = true;
        self.plan_at = Some(Instant::now() + self.backoff.next_delay());
    }
}
