//! How long to wait before the next attempt.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// The first retry comes within twice this.
const FIRST: Duration = Duration::from_millis(50);
/// The same after an error that does not pass by itself.
const FIRST_HOPELESS: Duration = Duration::from_secs(1);
/// Rights can be granted and passwords corrected, so trying never ends, but it slows down to this.
const LONGEST_HOPELESS: Duration = Duration::from_secs(30);
/// Nothing is tried more often than this, whatever is asked for.
const SHORTEST: Duration = Duration::from_millis(10);

/// Jittered exponential pauses, one row for what can pass and a slower one for what cannot.
///
/// Neither a list nor an opened watch nor a batch starts them anew: each of them may be followed at
/// once by the same failure, and the loop would be a hot one. A watch that lasts does.
pub(super) struct Pace {
    longest: Duration,
    passing: ExponentialBackoff,
    hopeless: ExponentialBackoff,
}

impl Pace {
    /// Pauses up to `longest`, but not under 10 ms.
    pub(super) fn new(longest: Duration) -> Self {
        let longest = longest.max(SHORTEST);
        Self {
            longest,
            passing: pauses(FIRST, longest),
            hopeless: pauses(FIRST_HOPELESS, LONGEST_HOPELESS.max(longest)),
        }
    }

    /// The longest pause where the trouble can pass; also how long a watch has to last to count as
    /// a success.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// The next pause.
    pub(super) fn pause(&mut self, can_pass: bool) -> Duration {
        let (pauses, longest) = if can_pass {
            (&mut self.passing, self.longest)
        } else {
            (&mut self.hopeless, LONGEST_HOPELESS)
        };
        pauses.next().unwrap_or(longest)
    }

    /// Begins with short pauses again.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.longest);
    }
}

/// Endless pauses from `first` to `longest`. The jitter is added on top and as large as the pause
/// itself, hence the half.
fn pauses(first: Duration, longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(first.min(longest / 2))
        .with_max_delay(longest / 2)
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_stay_there() {
        let longest = Duration::from_secs(2);
        let mut pace = Pace::new(longest);
        let first = pace.pause(true);
        assert!((FIRST..=FIRST * 2).contains(&first), "{first:?}");
        let later: Vec<_> = (0..50).map(|_| pace.pause(true)).collect();
        assert!(
            later[10..]
                .iter()
                .all(|p| (longest / 2..=longest).contains(p))
        );
        pace.reset();
        assert!(pace.pause(true) <= FIRST * 2);
    }

    #[test]
    fn what_cannot_pass_is_tried_rarely() {
        let mut pace = Pace::new(Duration::from_secs(2));
        let pauses: Vec<_> = (0..20).map(|_| pace.pause(false)).collect();
        assert!(pauses.iter().all(|pause| *pause >= FIRST_HOPELESS));
        assert!(
            pauses[10..]
                .iter()
                .all(|pause| *pause >= LONGEST_HOPELESS / 2)
        );
    }

    #[test]
    fn no_configuration_makes_a_hot_loop() {
        let mut pace = Pace::new(Duration::ZERO);
        assert!((0..50).all(|_| pace.pause(true) >= SHORTEST / 2));
        let mut pace = Pace::new(Duration::MAX);
        assert!((0..50).all(|_| pace.pause(true) >= FIRST));
    }
}
