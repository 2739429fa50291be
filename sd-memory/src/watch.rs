//! Watches: each is a place in the registry's history, and nothing is queued for it.

use crate::{
    news::Listener,
    session::Session,
    shared::{Condition, Shared, State},
};
use futures::stream;
use sd_core::{Batch, Error, Gap, Prefix, Revision, Watch, WatchError};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a watch keeps it to itself that others were written to.
const PROGRESS_AFTER: Duration = Duration::from_secs(10);

type Item = Result<Batch, WatchError>;

/// Opens a watch.
pub(crate) async fn follow(
    session: &Session,
    prefix: &Prefix,
    after: &Revision,
) -> Result<Watch, WatchError> {
    let registry = session.registry();
    // The place is made within the call: it is never there without somebody who gives it up.
    let place = session
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
        .await
        .map_err(WatchError::Interrupted)?;
    let (id, revision) = place.map_err(WatchError::Gap)?;
    let options = session.options();
    let follower = Follower {
        seat: Seat {
            registry: Arc::clone(registry),
            id,
        },
        news: registry.news(),
        stop: session.stop().clone(),
        prefix: prefix.clone(),
        disrupted_after: options.disrupted_after,
        interrupted_after: options.interrupted_after,
        since: Instant::now(),
        read: revision,
        told: revision,
        told_at: Instant::now(),
        disrupted: false,
    };
    Ok(Watch::new(stream::unfold(
        Some(follower),
        async |follower| follower?.next().await,
    )))
}

/// A watch under way.
#[derive(Debug)]
struct Follower {
    seat: Seat,
    news: Listener,
    stop: CancellationToken,
    prefix: Prefix,
    disrupted_after: Duration,
    interrupted_after: Duration,
    /// When the watch was opened.
    since: Instant,
    /// Up to where the history is read, and up to where its reader knows.
    read: u64,
    told: u64,
    told_at: Instant,
    /// Whether the last item said so.
    disrupted: bool,
}

/// What a look at the registry leads to.
enum Step {
    Yield(Batch),
    Disrupted(Error),
    End(WatchError),
    Wait(Option<Instant>),
}

impl Follower {
    async fn next(mut self) -> Option<(Item, Option<Self>)> {
        loop {
            self.news.mark_heard();
            let registry = Arc::clone(&self.seat.registry);
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
                () = self.news.changed() => {}
                () = timer => {}
            }
        }
    }

    fn step(&mut self, state: &State, now: Instant) -> Step {
        if self.stop.is_cancelled() {
            return Step::End(WatchError::Interrupted(Error::Closed));
        }
        if !state.watchers.contains_key(&self.seat.id) {
            return Step::End(WatchError::Interrupted(state.disconnected.clone()));
        }
        match state.condition {
            Condition::Frozen { since } => self.sit_out(since.max(self.since), now),
            _ => self.read(state, now),
        }
    }

    /// What to say of a registry that has been silent for so long.
    fn sit_out(&mut self, since: Instant, now: Instant) -> Step {
        let silence = now.saturating_duration_since(since);
        let error = Error::Timeout {
            operation: "watch_prefix",
            after: silence,
        };
        if !self.disrupted && silence >= self.disrupted_after {
            self.disrupted = true;
            return Step::Disrupted(error);
        }
        if silence >= self.interrupted_after {
            return Step::End(WatchError::Interrupted(error));
        }
        Step::Wait(Some(match self.disrupted {
            true => since + self.interrupted_after,
            false => since + self.disrupted_after,
        }))
    }

    /// What to say of a registry that answers.
    fn read(&mut self, state: &State, now: Instant) -> Step {
        let history = state.store.history();
        let mut changes = Vec::new();
        while changes.is_empty() && self.read < history.revision() {
            let Some(missed) = history.missed(self.read, &self.prefix) else {
                return Step::End(WatchError::Gap(Gap::Compacted));
            };
            self.read = missed.upto;
            changes = missed.changes;
        }
        // A resume point that is about to be of no use is renewed at once.
        let progress = self.told < self.read
            && (now >= self.told_at + PROGRESS_AFTER || self.told < history.compacted());
        if changes.is_empty() && !progress && !self.disrupted {
            let due = (self.told < self.read).then(|| self.told_at + PROGRESS_AFTER);
            return Step::Wait(due);
        }
        self.disrupted = false;
        self.told = self.read;
        self.told_at = now;
        Step::Yield(Batch::new(changes, history.token(self.read)))
    }
}

/// The place of a watch at the registry; dropping it gives it up.
#[derive(Debug)]
struct Seat {
    registry: Arc<Shared>,
    id: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.registry
            .with(|state, _| state.watchers.remove(&self.id));
    }
}
