//! Delays between attempts.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// No delay is longer, so that sums of delays do not overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Delays between attempts: they double from the first to the longest, without end.
///
/// Each delay is drawn from the upper half of its range ("equal jitter", see [Exponential Backoff
/// And Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)), so that
/// many clients that failed together do not retry together. A clone begins with the first delay.
///
/// This crate uses it for all its retries. It is public for authors of backends.
///
/// ```
/// use sd_core::Backoff;
/// use std::time::Duration;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// assert!(backoff.next_delay() <= Duration::from_millis(200));
/// backoff.reset(); // an attempt succeeded
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// ```
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    /// Those of the attempts that have failed; `None` while none has, as mostly.
    delays: Option<Box<ExponentialBackoff>>,
}

impl Backoff {
    /// Delays from at most `first` to at most `longest`. `longest` is raised to `first` if it is
    /// less, and both are at most a day. Two zeros mean no delay.
    pub fn new(first: Duration, longest: Duration) -> Self {
        let first = first.min(LONGEST);
        let longest = longest.clamp(first, LONGEST);
        Self {
            first,
            longest,
            delays: None,
        }
    }

    /// Returns the delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let (first, longest) = (self.first, self.longest);
        let delays = self
            .delays
            .get_or_insert_with(|| Box::new(delays(first, longest)));
        delays.next().unwrap_or(longest)
    }

    /// The longest delay.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Starts over with the first delay.
    pub fn reset(&mut self) {
        self.delays = None;
    }
}

fn delays(first: Duration, longest: Duration) -> ExponentialBackoff {
    // `backon` adds its jitter to the delay: up to once the delay's length.
    ExponentialBuilder::new()
        .with_min_delay(first / 2)
        .with_max_delay(longest / 2)
        .without_max_times()
        .with_jitter()
        .build()
}

impl Clone for Backoff {
    fn clone(&self) -> Self {
        Self::new(self.first, self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(delay: Duration, millis: std::ops::RangeInclusive<u128>) -> bool {
        millis.contains(&delay.as_millis())
    }

    #[test]
    fn delays_double_up_to_the_longest_and_never_end() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        assert!(within(backoff.next_delay(), 50..=100));
        assert!(within(backoff.next_delay(), 100..=200));
        for _ in 0..100 {
            let delay = backoff.next_delay();
            assert!(within(delay, 150..=300), "{delay:?}");
        }
        backoff.reset();
        assert!(within(backoff.next_delay(), 50..=100));
    }

    #[test]
    fn odd_options_are_bounded() {
        let mut longest_before_first = Backoff::new(Duration::MAX, Duration::ZERO);
        assert!(longest_before_first.next_delay() >= LONGEST / 2);
        let mut none = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(none.next_delay(), Duration::ZERO);
    }
}
