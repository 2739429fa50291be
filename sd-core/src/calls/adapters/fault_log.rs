//! Which faults of single endpoints are logged: some at once, and then fewer.

use crate::support::LogThrottle;
use std::{collections::BTreeSet, sync::Arc};
use tokio::time::Instant;

/// So many faults have lines of their own at once.
const LINES: u32 = 16;

/// Decides which faults are logged, so that the end of a fault is logged if its beginning was.
pub(super) struct FaultLog {
    throttle: LogThrottle,
    /// The addresses whose fault was logged.
    logged: BTreeSet<Arc<str>>,
}

impl FaultLog {
    pub(super) fn new() -> Self {
        Self {
            throttle: LogThrottle::new(LINES),
            logged: BTreeSet::new(),
        }
    }

    /// Whether to log that a fault of `address` begins.
    pub(super) fn begins(&mut self, address: &Arc<str>, now: Instant) -> bool {
        let is_logged = self.throttle.allows(now);
        if is_logged {
            self.logged.insert(address.clone());
        }
        is_logged
    }

    /// Whether to log that the fault of `address` has ended.
    pub(super) fn ends(&mut self, address: &str) -> bool {
        self.logged.remove(address)
    }

    /// The address has gone.
    pub(super) fn forget(&mut self, address: &str) {
        self.logged.remove(address);
    }
}
