//! Delays changes for watches. No I/O; the time is passed in.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// The delay, and the revisions that watches do not see yet.
#[derive(Debug, Default)]
pub(crate) struct WatchDelay {
    by: Duration,
    /// For hidden revisions: when they were made, and the newest revision before them.
    hidden: VecDeque<(Instant, u64)>,
}

impl WatchDelay {
    /// Changes the delay, also for revisions that are hidden already.
    pub(crate) fn set(&mut self, by: Duration) {
        self.by = by;
        if by.is_zero() {
            self.hidden.clear();
        }
    }

    /// Records that revisions after `before` were made. Keeps at most `limit` records.
    pub(crate) fn add(&mut self, before: u64, now: Instant, limit: usize) {
        self.show_due(now);
        if self.by.is_zero() {
            return;
        }
        if self.hidden.len() >= limit {
            self.hidden.pop_front();
        }
        self.hidden.push_back((now, before));
    }

    /// Forgets everything. Called when the history is replaced.
    pub(crate) fn clear(&mut self) {
        self.hidden.clear();
    }

    /// The newest revision that watches see, if the history is at `newest`, and when they see more.
    pub(crate) fn visible(&self, newest: u64, now: Instant) -> (u64, Option<Instant>) {
        let hidden = self
            .hidden
            .iter()
            .find(|(made, _)| !self.is_due(*made, now));
        match hidden {
            Some((made, before)) => (*before, made.checked_add(self.by)),
            None => (newest, None),
        }
    }

    fn show_due(&mut self, now: Instant) {
        while let Some((made, _)) = self.hidden.front()
            && self.is_due(*made, now)
        {
            self.hidden.pop_front();
        }
    }

    fn is_due(&self, made: Instant, now: Instant) -> bool {
        made.checked_add(self.by).is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_revision_is_seen_when_its_own_delay_is_over() {
        let start = Instant::now();
        let mut delay = WatchDelay::default();
        delay.add(1, start, 10);
        assert_eq!(delay.visible(2, start), (2, None));
        delay.set(3 * SECOND);
        delay.add(2, start, 10);
        delay.add(3, start + SECOND, 10);
        assert_eq!(delay.visible(4, start), (2, Some(start + 3 * SECOND)));
        let third = start + 3 * SECOND;
        assert_eq!(delay.visible(4, third), (3, Some(start + 4 * SECOND)));
        assert_eq!(delay.visible(4, third + SECOND), (4, None));
        delay.set(Duration::ZERO);
        assert_eq!(delay.visible(4, start), (4, None));
    }

    #[test]
    fn a_delay_without_end_shows_nothing_and_keeps_no_more_than_the_limit() {
        let start = Instant::now();
        let mut delay = WatchDelay::default();
        delay.set(Duration::MAX);
        for revision in 1..10 {
            delay.add(revision, start, 3);
        }
        assert_eq!(delay.hidden.len(), 3);
        assert_eq!(delay.visible(10, start + 1000 * SECOND), (7, None));
        delay.set(SECOND);
        assert_eq!(delay.visible(10, start + SECOND), (10, None));
    }
}
