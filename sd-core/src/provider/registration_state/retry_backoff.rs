//! Delays between attempts at one registration.

use crate::support::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// The first attempt after a loss comes within this time. A thousand registrations that are lost at
/// once are spread over it, and none of them stays away for long.
const FIRST: Duration = Duration::from_millis(100);
/// Shorter delays would be a hot loop.
const SHORTEST: Duration = Duration::from_millis(10);
/// Longer delays would be as good as giving up.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// A [`Backoff`] that begins again only after a success that has lasted.
///
/// A registration that is lost right after each success is tried again as slowly as one that never
/// succeeds.
#[derive(Debug)]
pub(super) struct RetryBackoff {
    delays: Backoff,
    first: bool,
    succeeded_at: Option<Instant>,
}

impl RetryBackoff {
    /// Delays that grow from `min` to `max`, after a first one of at most 100 ms.
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        let max = max.clamp(2 * SHORTEST, LONGEST);
        // A delay of the backoff is at least half of its length.
        let min = min.clamp(SHORTEST, max / 2);
        Self {
            delays: Backoff::new(2 * min, max),
            first: true,
            succeeded_at: None,
        }
    }

    /// An attempt has succeeded.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.succeeded_at.get_or_insert(now);
    }

    /// An attempt has failed, or a registration is lost. Returns the delay before the next attempt.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        let lasted = self.succeeded_at.take().map(|since| now - since);
        if lasted.is_some_and(|lasted| lasted >= 2 * self.delays.longest()) {
            self.reset();
        }
        if std::mem::take(&mut self.first) {
            return FIRST.min(self.delays.longest()).mul_f64(fastrand::f64());
        }
        self.delays.next_delay()
    }

    /// The longest delay, with its jitter, for trouble that is not expected to end soon.
    pub(super) fn longest(&self) -> Duration {
        self.delays.longest().mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Begins again with the first delay.
    pub(super) fn reset(&mut self) {
        self.delays.reset();
        self.first = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn delays_grow_up_to_the_maximum() {
        let now = Instant::now();
        for _ in 0..200 {
            let mut backoff = RetryBackoff::new(MIN, MAX);
            assert!(backoff.failed(now) <= FIRST);
            let mut at_least = MIN;
            for _ in 0..12 {
                let delay = backoff.failed(now);
                assert!((at_least..=MAX).contains(&delay), "{delay:?}");
                at_least = (2 * at_least).min(MAX / 2);
            }
            assert!((MAX / 2..=MAX).contains(&backoff.longest()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_counts_once_it_has_lasted() {
        let mut now = Instant::now();
        let mut backoff = RetryBackoff::new(MIN, MAX);
        for _ in 0..12 {
            backoff.failed(now);
        }
        backoff.succeeded(now);
        now += MAX;
        assert!(backoff.failed(now) >= MAX / 2);
        backoff.succeeded(now);
        now += 2 * MAX;
        assert!(backoff.failed(now) <= FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn no_setting_makes_a_hot_loop_or_a_panic() {
        let now = Instant::now();
        for (min, max) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::MAX, Duration::MAX),
            (MAX, MIN),
        ] {
            let mut backoff = RetryBackoff::new(min, max);
            backoff.failed(now);
            for _ in 0..50 {
                assert!((SHORTEST..=LONGEST).contains(&backoff.failed(now)));
            }
        }
    }
}
