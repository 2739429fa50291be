//! Watches. Each is a position in the registry's history; nothing is queued for it.

use crate::{
    notify::Listener,
    session::Session,
    shared::{Shared, State},
};
use futures::stream;
use sd_core::{Batch, Error, Gap, Prefix, Revision, Watch, WatchError};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long after its last item a watch reports progress, if only other prefixes have changed.
const PROGRESS_AFTER: Duration = Duration::from_secs(10);

type Item = Result<Batch, WatchError>;

/// Opens a watch.
pub(crate) async fn open(
    session: &Session,
    prefix: &Prefix,
    after: &Revision,
) -> Result<Watch, WatchError> {
    let registry = session.registry();
    // Counted as open within the call, so that its `OpenWatch` exists from the same moment on.
    let opened = session
        .call(
            "watch_prefix",
            |calls| &mut calls.watches,
            |state| {
                let revision = state.store.history().locate(after)?;
                let id = registry.id();
                state.watchers.insert(id, session.id());
                Ok::<_, Gap>((id, revision))
            },
        )
        .await?;
    let (id, revision) = opened?;
    let options = session.options();
    let watcher = Watcher {
        open: OpenWatch {
            registry: Arc::clone(registry),
            id,
        },
        client: session.id(),
        changes: registry.listen(),
        stop: session.stop().clone(),
        prefix: prefix.clone(),
        disrupted_after: options.disrupted_after,
        interrupted_after: options.interrupted_after,
        since: Instant::now(),
        read: revision,
        reported: revision,
        reported_at: Instant::now(),
        answered: false,
        disrupted: false,
    };
    Ok(Watch::new(stream::unfold(Some(watcher), async |watcher| {
        watcher?.next().await
    })))
}

/// An open watch.
#[derive(Debug)]
struct Watcher {
    open: OpenWatch,
    client: u64,
    changes: Listener,
    stop: CancellationToken,
    prefix: Prefix,
    disrupted_after: Duration,
    interrupted_after: Duration,
    /// When the watch was opened.
    since: Instant,
    /// The revision up to which the history was read. `reported` is the last one that was reported.
    read: u64,
    reported: u64,
    reported_at: Instant,
    /// Whether the first batch was yielded.
    answered: bool,
    /// Whether the last item was a disruption.
    disrupted: bool,
}

/// What the watch does next.
enum Step {
    Yield(Batch),
    Disrupted(Error),
    End(WatchError),
    Wait(Option<Instant>),
}

impl Watcher {
    async fn next(mut self) -> Option<(Item, Option<Self>)> {
        loop {
            self.changes.mark_seen();
            let registry = Arc::clone(&self.open.registry);
            let until = match registry.with(|state, now| self.step(state, now)) {
                Step::Yield(batch) => return Some((Ok(batch), Some(self))),
                Step::Disrupted(error) => {
                    return Some((Err(WatchError::Disrupted(error)), Some(self)));
                }
                Step::End(error) => return Some((Err(error), None)),
                Step::Wait(until) => until,
            };
            let timer = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = self.changes.changed() => {}
                () = timer => {}
            }
        }
    }

    fn step(&mut self, state: &State, now: Instant) -> Step {
        if self.stop.is_cancelled() {
            return Step::End(Error::Closed.into());
        }
        let is_open = state.watchers.contains_key(&self.open.id);
        // A client that is cut off does not learn that its watch was closed.
        if !is_open && !state.cut_off.contains_key(&self.client) {
            return Step::End(state.disconnected.clone().into());
        }
        match state.silent_since(self.client) {
            Some(since) => self.report_silence(since.max(self.since), now),
            None => self.read(state, now),
        }
    }

    /// What to report about a registry that has been silent since `since`.
    fn report_silence(&mut self, since: Instant, now: Instant) -> Step {
        let silence = now.saturating_duration_since(since);
        let error = Error::timeout("watch_prefix", silence);
        if !self.disrupted && silence >= self.disrupted_after {
            self.disrupted = true;
            return Step::Disrupted(error);
        }
        if silence >= self.interrupted_after {
            return Step::End(error.into());
        }
        Step::Wait(since.checked_add(match self.disrupted {
            true => self.interrupted_after,
            false => self.disrupted_after,
        }))
    }

    /// What to report about a registry that answers.
    fn read(&mut self, state: &State, now: Instant) -> Step {
        let history = state.store.history();
        let (visible, more_at) = state.watch_delay.visible(history.revision(), now);
        let mut changes = Vec::new();
        while changes.is_empty() && self.read < visible {
            let Some(missed) = history.missed(self.read, visible, &self.prefix) else {
                return Step::End(Gap::Compacted.into());
            };
            self.read = missed.upto;
            changes = missed.changes;
        }
        // If the resume revision was compacted, progress is reported at once.
        let progress = self.reported < self.read
            && (now >= self.reported_at + PROGRESS_AFTER || self.reported < history.compacted());
        if self.answered && changes.is_empty() && !progress && !self.disrupted {
            let due = (self.reported < self.read).then(|| self.reported_at + PROGRESS_AFTER);
            return Step::Wait(due.into_iter().chain(more_at).min());
        }
        self.answered = true;
        self.disrupted = false;
        self.reported = self.read;
        self.reported_at = now;
        Step::Yield(Batch::new(changes, history.token(self.read)))
    }
}

/// Counts a watch as open at the registry until it is dropped.
#[derive(Debug)]
struct OpenWatch {
    registry: Arc<Shared>,
    id: u64,
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.registry
            .with(|state, _| state.watchers.remove(&self.id));
    }
}
