//! How many calls have failed within the last second.

use super::Millis;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the failures of the last second, in two windows of a second each: the current one, and as
/// much of the previous one as is not longer ago than a second, if they were spread evenly. A
/// single failure counts for one to two seconds.
///
/// One word, so that it needs no lock.
#[derive(Debug, Default)]
pub(super) struct RecentFailures(AtomicU64);

const WINDOW: u64 = 1000;

/// The counters, unpacked. All zero is the word 0.
#[derive(Debug, Clone, Copy)]
struct Windows {
    /// The number of the current window.
    number: u32,
    current: u16,
    previous: u16,
}

impl RecentFailures {
    /// Whether there may be any; reads no clock. It becomes `false` once they have been counted
    /// after the end of their time.
    #[inline]
    pub(super) fn may_be_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    pub(super) fn add(&self, now: Millis) {
        let add = |word| {
            let mut windows = Windows::from(word).moved_to(now);
            windows.current = windows.current.saturating_add(1);
            Some(windows.into())
        };
        // Never refuses.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    pub(super) fn count(&self, now: Millis) -> u32 {
        let word = self.0.load(Ordering::Relaxed);
        let Windows {
            current, previous, ..
        } = Windows::from(word).moved_to(now);
        if (current, previous) == (0, 0) {
            // If one was added meanwhile, it stays.
            let _ = self
                .0
                .compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
            return 0;
        }
        let rest = (WINDOW - now.get() % WINDOW) as u32;
        u32::from(current) + (u32::from(previous) * rest).div_ceil(WINDOW as u32)
    }
}

impl Windows {
    /// The counters at this time. A time in an earlier window, of a thread that was interrupted,
    /// counts as the current one.
    fn moved_to(self, now: Millis) -> Self {
        let number = (now.get() / WINDOW) as u32;
        match number.saturating_sub(self.number) {
            0 => self,
            1 => Self {
                number,
                current: 0,
                previous: self.current,
            },
            _ => Self {
                number,
                current: 0,
                previous: 0,
            },
        }
    }
}

impl From<u64> for Windows {
    fn from(word: u64) -> Self {
        Self {
            number: (word >> 32) as u32,
            current: (word >> 16) as u16,
            previous: word as u16,
        }
    }
}

impl From<Windows> for u64 {
    fn from(windows: Windows) -> Self {
        let counters = u64::from(windows.current) << 16 | u64::from(windows.previous);
        u64::from(windows.number) << 32 | counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_for_a_second_at_least_and_two_at_most() {
        for at in [0, 1, 500, 999, 1000, 7_654_321] {
            let failures = RecentFailures::default();
            failures.add(Millis::new(at));
            assert!(
                [0, 1, 999]
                    .iter()
                    .all(|later| failures.count(Millis::new(at + later)) == 1)
            );
            assert!(failures.may_be_any());
            assert_eq!(failures.count(Millis::new(at + 2000)), 0);
            assert!(!failures.may_be_any());
        }
    }

    #[test]
    fn a_steady_rate_counts_as_that_of_a_second() {
        let failures = RecentFailures::default();
        for at in (0..10_000).step_by(10) {
            failures.add(Millis::new(at));
            let count = failures.count(Millis::new(at));
            assert!(at < 1000 || (99..=102).contains(&count), "{count} at {at}");
        }
    }

    #[test]
    fn many_failures_are_no_overflow() {
        let failures = RecentFailures::default();
        (0..70_000).for_each(|_| failures.add(Millis::new(10)));
        assert_eq!(failures.count(Millis::new(10)), u32::from(u16::MAX));
        failures.add(Millis::new(1000));
        assert_eq!(failures.count(Millis::new(1000)), u32::from(u16::MAX) + 1);
    }

    #[test]
    fn a_late_report_and_a_failure_of_long_ago_are_harmless() {
        let failures = RecentFailures::default();
        failures.add(Millis::new(5000));
        failures.add(Millis::new(3999));
        assert_eq!(failures.count(Millis::new(5000)), 2);
        assert_eq!(failures.count(Millis::new(3999)), 2);
        failures.add(Millis::new(100_000));
        assert_eq!(failures.count(Millis::new(100_000)), 1);
    }
}
