//! How the calls to one endpoint ended since the last sweep.

use crate::calls::{
    derived::Nudge,
    observer::{EndedCall, Observer, Outcome},
};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Counts how the calls to one address end. Takes no lock.
#[derive(Debug)]
pub(super) struct CallCounts {
    successes: AtomicU64,
    failures: AtomicU64,
    overloads: AtomicU64,
    consecutive_failures: AtomicU32,
    /// With so many consecutive failures, the adapter is nudged.
    most_consecutive: u32,
    nudge: Nudge,
}

/// The calls to one address that ended between two sweeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EndedCalls {
    pub(super) successes: u64,
    pub(super) failures: u64,
    /// Calls that were refused since there was too much to do.
    pub(super) overloads: u64,
}

impl EndedCalls {
    pub(super) fn all(self) -> u64 {
        self.successes + self.failures + self.overloads
    }
}

impl CallCounts {
    /// Nudges once for each `most_consecutive` failures in a row; never if that is `None`.
    pub(super) fn new(most_consecutive: Option<u32>, nudge: Nudge) -> Self {
        Self {
            successes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            overloads: AtomicU64::new(0),
            consecutive_failures: AtomicU32::new(0),
            most_consecutive: most_consecutive.unwrap_or(u32::MAX),
            nudge,
        }
    }

    pub(super) fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures.load(Ordering::Relaxed)
    }

    /// What was counted since the last time. Consecutive failures go on.
    pub(super) fn take(&self) -> EndedCalls {
        EndedCalls {
            successes: self.successes.swap(0, Ordering::Relaxed),
            failures: self.failures.swap(0, Ordering::Relaxed),
            overloads: self.overloads.swap(0, Ordering::Relaxed),
        }
    }

    /// Begins anew.
    pub(super) fn reset(&self) {
        self.take();
        self.consecutive_failures.store(0, Ordering::Relaxed);
    }
}

impl Observer for CallCounts {
    fn needs_times(&self) -> bool {
        false
    }

    fn ended(&self, call: &EndedCall) {
        match call.outcome {
            Outcome::Success => {
                self.successes.fetch_add(1, Ordering::Relaxed);
                // Mostly it is 0, and a read leaves the cache line shared.
                if self.consecutive_failures() != 0 {
                    self.consecutive_failures.store(0, Ordering::Relaxed);
                }
            }
            Outcome::Failure | Outcome::TimedOut => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                let before = self.consecutive_failures.fetch_add(1, Ordering::Relaxed);
                // Only for the one that reaches it, so that an endpoint that cannot be ejected
                // does not wake the task with each call.
                if before.checked_add(1) == Some(self.most_consecutive) {
                    self.nudge.derive_again();
                }
            }
            Outcome::Overloaded => {
                self.overloads.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Cancelled => {}
        }
    }
}
