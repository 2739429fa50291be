//! How long to wait before the next attempt.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;
use tokio::time::Instant;

/// The first attempt after a loss comes within this, so that a thousand registrations that are lost
/// at once are spread out, and none of them stays away for long.
const FIRST: Duration = Duration::from_millis(100);
/// Shorter delays would be a hot loop.
const SHORTEST: Duration = Duration::from_millis(10);
/// Longer delays would be as good as giving up.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Growing delays with jitter, none above a maximum.
///
/// A success alone does not start them anew: what is lost again right after it was won is tried
/// again as slowly as what was never won. Only a success that lasted does.
#[derive(Debug)]
pub(super) struct Backoff {
    growth: ExponentialBuilder,
    delays: ExponentialBackoff,
    max: Duration,
    fresh: bool,
    well_since: Option<Instant>,
}

impl Backoff {
    /// Delays that grow from `min` to `max`, after a first one of next to nothing.
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        let max = max.clamp(2 * SHORTEST, LONGEST);
        // The crate's jitter adds up to the delay itself, so half of what is meant is asked for.
        let growth = ExponentialBuilder::new()
            .with_min_delay(min.clamp(SHORTEST, max / 2))
            .with_max_delay(max / 2)
            .without_max_times()
            .with_jitter();
        Self {
            growth,
            delays: growth.build(),
            max,
            fresh: true,
            well_since: None,
        }
    }

    /// Says that an attempt succeeded.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.well_since.get_or_insert(now);
    }

    /// Says that an attempt failed, or that what was won is lost; how long to wait before the next.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        let lasted = self.well_since.take().map(|since| now - since);
        if lasted.is_some_and(|lasted| lasted >= 2 * self.max) {
            self.reset();
        }
        if std::mem::take(&mut self.fresh) {
            return FIRST.min(self.max).mul_f64(fastrand::f64());
        }
        self.delays.next().unwrap_or(self.max).min(self.max)
    }

    /// The longest delay, for what is not expected to pass soon, with its jitter.
    pub(super) fn longest(&self) -> Duration {
        self.max.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Starts anew.
    pub(super) fn reset(&mut self) {
        self.delays = self.growth.build();
        self.fresh = true;
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
            let mut backoff = Backoff::new(MIN, MAX);
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
        let mut backoff = Backoff::new(MIN, MAX);
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
            let mut backoff = Backoff::new(min, max);
            backoff.failed(now);
            for _ in 0..50 {
                assert!((SHORTEST..=LONGEST).contains(&backoff.failed(now)));
            }
        }
    }
}
