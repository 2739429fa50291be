//! Pauses between attempts.

use backon::ExponentialBuilder;
use std::time::Duration;

/// Endless pauses between half of and all of a length that doubles from the first to the second.
pub(crate) fn jittered(first: Duration, longest: Duration) -> ExponentialBuilder {
    // What is longer is as good as never, and would overflow once jitter is added.
    let half = |pause: Duration| pause.min(Duration::from_secs(86_400)) / 2;
    ExponentialBuilder::new()
        .with_min_delay(half(first))
        .with_max_delay(half(longest.max(first)))
        .without_max_times()
        .with_jitter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use backon::BackoffBuilder;

    fn within(pause: Duration, millis: std::ops::RangeInclusive<u128>) -> bool {
        millis.contains(&pause.as_millis())
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_never_end() {
        let mut pauses = jittered(Duration::from_millis(100), Duration::from_millis(300)).build();
        assert!(within(pauses.next().unwrap(), 50..=100));
        assert!(within(pauses.next().unwrap(), 100..=200));
        for pause in pauses.take(100) {
            assert!(within(pause, 150..=300), "{pause:?}");
        }
    }

    #[test]
    fn odd_options_are_bounded() {
        let mut longest_before_first = jittered(Duration::MAX, Duration::ZERO).build();
        assert!(longest_before_first.next().unwrap() >= Duration::from_secs(43_200));
        let mut none = jittered(Duration::ZERO, Duration::ZERO).build();
        assert_eq!(none.next(), Some(Duration::ZERO));
    }
}
