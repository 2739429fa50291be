//! Which member to connect to, and when.
//!
//! The first member is chosen at random, so that clients spread over the cluster. It is kept while
//! it works. After every member has failed there is a pause, shared by all callers: however many
//! wait, a starting etcd sees one attempt at a time.

use sd_core::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// The longest pause between two rounds of all members.
const MAX_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Failover {
    members: usize,
    pub(super) member: usize,
    pub(super) epoch: u64,
    /// The current connection has answered something.
    has_answered: bool,
    /// Connections given up since the last pause or answer.
    failures: usize,
    /// The pauses between rounds. An answer resets them.
    backoff: Backoff,
    /// When the warning was logged that no connection works. An answer resets it.
    warned_at: Option<Instant>,
    /// A token was refused, and nothing was answered since.
    token_was_refused: bool,
}

impl Failover {
    pub(super) fn new(members: usize) -> Self {
        Self {
            members,
            member: fastrand::usize(..members),
            epoch: 0,
            has_answered: false,
            failures: 0,
            backoff: Backoff::new(Duration::from_millis(20), MAX_PAUSE),
            warned_at: None,
            token_was_refused: false,
        }
    }

    /// Moves on to the next member, and returns whether to warn. Of many calls on `epoch` that fail
    /// together only the first counts; the others get `None`.
    pub(super) fn give_up(
        &mut self,
        epoch: u64,
        is_token_refused: bool,
        now: Instant,
    ) -> Option<bool> {
        if self.epoch != epoch {
            return None;
        }
        self.member = (self.member + 1) % self.members;
        self.epoch += 1;
        self.has_answered = false;
        self.failures += 1;
        Some(self.should_warn(is_token_refused, now))
    }

    /// Notes that connection `epoch` works. Returns since when there was trouble, if a warning was
    /// logged.
    pub(super) fn answered(&mut self, epoch: u64) -> Option<Instant> {
        if self.epoch != epoch {
            return None;
        }
        self.has_answered = true;
        self.failures = 0;
        self.backoff.reset();
        self.token_was_refused = false;
        self.warned_at.take()
    }

    /// Whether connection `epoch` is the current one and has answered nothing yet.
    pub(super) fn is_new(&self, epoch: u64) -> bool {
        self.epoch == epoch && !self.has_answered
    }

    /// Whether to warn: at the first failure since an answer. Tokens expire, and a new connection
    /// gets a new one, so a refused token counts only the second time.
    fn should_warn(&mut self, is_token_refused: bool, now: Instant) -> bool {
        if is_token_refused && !std::mem::replace(&mut self.token_was_refused, true) {
            return false;
        }
        let is_first = self.warned_at.is_none();
        self.warned_at.get_or_insert(now);
        is_first
    }

    /// Returns the pause before the next connection. It is zero until every member has failed.
    pub(super) fn pause(&mut self) -> Duration {
        if self.failures < self.members {
            return Duration::ZERO;
        }
        self.failures = 0;
        self.backoff.next_delay()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_expires_is_no_news_unless_a_new_one_is_refused_too() {
        let now = Instant::now();
        let mut failover = Failover::new(1);
        let mut warned = Vec::new();
        for is_token_refused in [true, true, true] {
            warned.push(failover.should_warn(is_token_refused, now));
        }
        assert_eq!(warned, [false, true, false]);

        let mut failover = Failover::new(1);
        assert!(failover.should_warn(false, now), "an outage");
        assert!(!failover.should_warn(true, now));
        assert!(failover.warned_at.is_some());
    }

    #[test]
    fn all_members_are_tried_before_a_pause_and_pauses_grow() {
        let mut failover = Failover::new(3);
        let mut round = || {
            let mut pauses = [Duration::MAX; 3];
            for pause in &mut pauses {
                *pause = failover.pause();
                failover.failures += 1;
            }
            pauses
        };

        assert_eq!(round(), [Duration::ZERO; 3]);
        let later: Vec<_> = (0..10).map(|_| round()).collect();

        assert!(later.iter().all(|round| round[1..] == [Duration::ZERO; 2]));
        assert!(later[0][0] >= Duration::from_millis(10));
        assert!((MAX_PAUSE / 2..=MAX_PAUSE).contains(&later[9][0]));
    }
}
