//! The run queue: which runs of factories or health checks wait, ordered by when they are due, and
//! which run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// A run that has taken this long is silent, and no longer counts against the limit.
pub(super) const COUNTED_FOR: Duration = Duration::from_millis(100);

/// Identifies one run; never used twice in one queue.
pub(super) type RunId = u64;

/// Where a run is in the queue.
#[derive(Clone, Copy)]
pub(super) enum QueuedRun {
    Waiting(Instant, RunId),
    Running(RunId),
}

/// Each run is for something, named by a key.
///
/// Hosts that do not answer must not delay those that do, and there may be thousands of them: the
/// hosts of a zone that is down. So a silent run no longer counts. Whenever as many runs have become
/// silent as may run at once, and none has answered meanwhile, twice as many may run. Behind 5,000
/// silent runs and with a limit of 32, the next one starts after 0.7 s. One that answers brings back
/// the limit, so that hosts that are merely slow are not asked by thousands at once.
pub(super) struct RunQueue<K> {
    waiting: BTreeMap<(Instant, RunId), K>,
    /// Each with the time until which it counts.
    running: BTreeMap<RunId, (K, Instant)>,
    /// The runs that count.
    counted: BTreeSet<(Instant, RunId)>,
    limit: usize,
    /// How many may count at the moment: the limit, or more while none answers.
    allowed: usize,
    /// How many have become silent since `allowed` was set.
    silent: usize,
    next_id: RunId,
}

impl<K: Clone> RunQueue<K> {
    /// At most `limit` run at once, as long as they answer; 0 counts as 1.
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        Self {
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            counted: BTreeSet::new(),
            limit,
            allowed: limit,
            silent: 0,
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
            QueuedRun::Running(id) => self.end(id).map(|_| id),
        }
    }

    /// Starts the next run, if one is due and the limit allows it.
    pub(super) fn start(&mut self, now: Instant) -> Option<(RunId, K)> {
        self.leave_out_silent(now);
        if self.counted.len() >= self.allowed {
            return None;
        }
        let first = self.waiting.first_entry()?;
        let (due, id) = *first.key();
        if due > now {
            return None;
        }
        let key = first.remove();
        let counts_until = now + COUNTED_FOR;
        self.running.insert(id, (key.clone(), counts_until));
        self.counted.insert((counts_until, id));
        Some((id, key))
    }

    fn leave_out_silent(&mut self, now: Instant) {
        while self.counted.first().is_some_and(|(until, _)| *until <= now) {
            self.counted.pop_first();
            self.silent += 1;
            if self.silent >= self.allowed {
                self.allowed = self.allowed.saturating_mul(2);
                self.silent = 0;
            }
        }
    }

    /// Ends a run that has answered, or has timed out. Returns its key, or `None` if it was cancelled
    /// before.
    pub(super) fn finish(&mut self, id: RunId, has_answered: bool, now: Instant) -> Option<K> {
        let key = self.end(id)?;
        if has_answered {
            self.leave_out_silent(now);
            self.allowed = self.limit;
            self.silent = 0;
        }
        Some(key)
    }

    fn end(&mut self, id: RunId) -> Option<K> {
        let (key, counts_until) = self.running.remove(&id)?;
        self.counted.remove(&(counts_until, id));
        Some(key)
    }

    /// When to call [`start`](Self::start) again, unless something else happens before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let ((due, _), _) = self.waiting.first_key_value()?;
        if self.counted.len() < self.allowed {
            return Some(*due);
        }
        let room = self.counted.first().map(|(until, _)| *until);
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 32;

    fn queue(runs: usize, now: Instant) -> RunQueue<usize> {
        let mut queue = RunQueue::new(LIMIT);
        for n in 0..runs {
            queue.schedule(n, now);
        }
        queue
    }

    fn start_all(queue: &mut RunQueue<usize>, now: Instant) -> Vec<RunId> {
        let started = std::iter::from_fn(|| queue.start(now).map(|(id, _)| id));
        started.collect()
    }

    #[test]
    fn twice_as_many_may_run_each_time_that_none_of_them_answers() {
        let begun = Instant::now();
        let mut queue = queue(5_000, begun);
        let mut now = begun;
        let mut started = Vec::new();
        while !queue.waiting.is_empty() {
            started.push(start_all(&mut queue, now).len());
            if let Some(at) = queue.wake_at() {
                assert!(at > now);
                now = at;
            }
        }
        assert_eq!(started, [32, 64, 128, 256, 512, 1024, 2048, 936]);
        assert_eq!(now - begun, 7 * COUNTED_FOR);
    }

    #[test]
    fn an_answer_brings_the_limit_back() {
        let mut now = Instant::now();
        let mut queue = queue(5_000, now);
        let first = start_all(&mut queue, now)[0];
        now += COUNTED_FOR;
        assert_eq!(start_all(&mut queue, now).len(), 2 * LIMIT);
        now += COUNTED_FOR;
        queue.finish(first, true, now);
        assert_eq!(start_all(&mut queue, now).len(), LIMIT);
        // A timeout is no answer.
        now += COUNTED_FOR;
        queue.finish(first + 1, false, now);
        assert_eq!(start_all(&mut queue, now).len(), 2 * LIMIT);
    }

    #[test]
    fn hosts_that_are_merely_slow_are_not_asked_by_thousands_at_once() {
        let mut now = Instant::now();
        let mut queue = queue(5_000, now);
        let mut under_way: Vec<(Instant, RunId)> = Vec::new();
        let mut most = 0;
        for _ in 0..1_000 {
            let (answers, silent) = under_way.into_iter().partition(|(at, _)| *at <= now);
            under_way = silent;
            for (_, id) in Vec::from_iter::<Vec<_>>(answers) {
                queue.finish(id, true, now);
            }
            let started = start_all(&mut queue, now).into_iter();
            under_way.extend(started.map(|id| (now + 3 * COUNTED_FOR / 2, id)));
            most = most.max(under_way.len());
            now += COUNTED_FOR / 10;
        }
        assert!(queue.is_empty() && most <= 4 * LIMIT, "{most}");
    }
}
