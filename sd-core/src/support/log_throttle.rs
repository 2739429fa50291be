//! How often a line may be logged that anybody's registry or network can cause.

use std::time::Duration;
use tokio::time::Instant;

/// The pause after the first lines, unless another is set. Each line doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause. After such a time without a line, it begins anew.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// Lets a few lines through at once, and then one after ever longer pauses: eleven in the first ten
/// minutes, and six an hour.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    burst: u32,
    /// Lines that may be logged without a pause.
    left: u32,
    first: Duration,
    pause: Duration,
    last: Option<Instant>,
}

impl LogThrottle {
    /// Lets `burst` lines through at once.
    pub(crate) fn new(burst: u32) -> Self {
        Self {
            burst,
            left: burst,
            first: FIRST,
            pause: FIRST,
            last: None,
        }
    }

    /// With another pause than a second after the first lines.
    pub(crate) fn with_first_pause(mut self, first: Duration) -> Self {
        (self.first, self.pause) = (first, first);
        self
    }

    /// Whether a line may be logged now. If so, it counts as logged.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let quiet = self.last.map(|last| now.saturating_duration_since(last));
        if quiet.is_some_and(|quiet| quiet > LONGEST) {
            *self = Self::new(self.burst).with_first_pause(self.first);
        }
        if self.left > 0 {
            self.left -= 1;
        } else if quiet.is_some_and(|quiet| quiet >= self.pause) {
            self.pause = (self.pause * 2).min(LONGEST);
        } else {
            return false;
        }
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds in which lines are let through, of one that wants to be logged every second.
    fn logged(throttle: &mut LogThrottle, start: Instant, secs: u64) -> Vec<u64> {
        let allows = |sec: &u64| throttle.allows(start + Duration::from_secs(*sec));
        (0..secs).filter(allows).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_begin_anew_after_a_long_silence() {
        let start = Instant::now();
        let mut throttle = LogThrottle::new(2);
        assert_eq!(logged(&mut throttle, start, 20), [0, 1, 2, 4, 8, 16]);
        let hour = Duration::from_secs(3600);
        let throttled = logged(&mut throttle, start + Duration::from_secs(20), 3600);
        assert!(throttled.len() <= 11, "{throttled:?}");
        assert_eq!(logged(&mut throttle, start + 2 * hour, 3), [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_let_through_at_once() {
        let (mut throttle, now) = (LogThrottle::new(3), Instant::now());
        let allowed = (0..1_000).filter(|_| throttle.allows(now));
        assert_eq!(allowed.count(), 3);
    }
}
