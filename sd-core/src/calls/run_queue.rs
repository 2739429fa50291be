//! The run queue: which runs of factories or health checks wait, ordered by when they are due, and
//! which run.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// A run that has taken this long no longer counts against the limit, so that a few hosts that do
/// not answer cannot delay the others.
pub(super) const COUNTED_FOR: Duration = Duration::from_secs(1);

/// Identifies one run; never used twice in one queue.
pub(super) type RunId = u64;

/// Where a run is in the queue.
#[derive(Clone, Copy)]
pub(super) enum QueuedRun {
    Waiting(Instant, RunId),
    Running(RunId),
}

/// Each run is for something, named by a key.
pub(super) struct RunQueue<K> {
    waiting: BTreeMap<(Instant, RunId), K>,
    running: BTreeMap<RunId, K>,
    /// The runs under way that count against the limit, and until when. The oldest comes first.
    counted: VecDeque<(Instant, RunId)>,
    limit: usize,
    next_id: RunId,
}

impl<K: Clone> RunQueue<K> {
    /// At most `limit` run at once; 0 counts as 1.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            counted: VecDeque::new(),
            limit: limit.max(1),
            next_id: 0,
        }
    }

    /// Adds a run for `key`.
    pub(super) fn schedule(&mut self, key: K, due: Instant) -> QueuedRun {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.insert((due, id), key);
        QueuedRun::Waiting(due, id)
    }

    /// Removes a run. If it is running, returns its id, so that it can be aborted.
    pub(super) fn cancel(&mut self, run: QueuedRun) -> Option<RunId> {
        match run {
            QueuedRun::Waiting(due, id) => {
                self.waiting.remove(&(due, id));
                None
            }
            QueuedRun::Running(id) => self.finish(id).map(|_| id),
        }
    }

    /// Starts the next run, if one is due and the limit allows it.
    pub(super) fn start(&mut self, now: Instant) -> Option<(RunId, K)> {
        while self.counted.front().is_some_and(|(until, _)| *until <= now) {
            self.counted.pop_front();
        }
        if self.counted.len() >= self.limit {
            return None;
        }
        let first = self.waiting.first_entry()?;
        let (due, id) = *first.key();
        if due > now {
            return None;
        }
        let key = first.remove();
        self.running.insert(id, key.clone());
        self.counted.push_back((now + COUNTED_FOR, id));
        Some((id, key))
    }

    /// Ends a run. Returns its key, or `None` if it was cancelled before.
    pub(super) fn finish(&mut self, id: RunId) -> Option<K> {
        let key = self.running.remove(&id)?;
        self.counted.retain(|(_, counted)| *counted != id);
        Some(key)
    }

    /// When to call [`start`](Self::start) again, unless something else happens before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let ((due, _), _) = self.waiting.first_key_value()?;
        if self.counted.len() < self.limit {
            return Some(*due);
        }
        let room = self.counted.front().map(|(until, _)| *until);
        room.map(|room| room.max(*due))
    }

    /// How many runs wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.counted.is_empty()
    }
}
