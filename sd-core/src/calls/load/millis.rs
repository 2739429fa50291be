//! Times that fit into a word together with something else.

use std::{sync::LazyLock, time::Duration};
use tokio::time::Instant;

/// A time in milliseconds since a fixed point, of which 39 bits are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::calls) struct Millis(u64);

/// When the first time was asked for.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Four years before the start, since one of tokio's paused clocks may be behind another one; 13
/// years are left after it.
const START_MILLIS: u64 = 1 << 37;

impl Millis {
    /// The last time, which stands for all later ones.
    pub(super) const LAST: u64 = (1 << 39) - 1;

    #[inline]
    pub(in crate::calls) fn of(time: Instant) -> Self {
        let start = *START;
        let millis = match time.checked_duration_since(start) {
            Some(after) => START_MILLIS.saturating_add(whole(after)),
            None => START_MILLIS.saturating_sub(whole(start.duration_since(time))),
        };
        Self::new(millis)
    }

    #[inline]
    pub(super) fn new(millis: u64) -> Self {
        Self(millis.min(Self::LAST))
    }

    #[inline]
    pub(super) fn get(self) -> u64 {
        self.0
    }

    /// The milliseconds since an earlier time; none, if that is later.
    #[inline]
    pub(super) fn since(self, earlier: u64) -> u64 {
        self.0.saturating_sub(earlier)
    }
}

/// Quicker than `as_millis`, which counts in 128 bits.
#[inline]
fn whole(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1000);
    seconds.saturating_add(u64::from(duration.subsec_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_the_first_one_keep_their_distance() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let [earlier, now, later] = [now - hour, now, now + hour].map(Millis::of);
        // Each is rounded to milliseconds from the start.
        assert!(now.since(earlier.get()).abs_diff(3_600_000) <= 1);
        assert!(later.since(now.get()).abs_diff(3_600_000) <= 1);
        assert_eq!(earlier.since(now.get()), 0);
        assert_eq!(Millis::new(u64::MAX).get(), Millis::LAST);
    }
}
