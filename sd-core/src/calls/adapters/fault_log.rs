//! Which faults of single endpoints are logged: some at once, and then fewer.

use crate::support::{LineQuota, LogThrottle};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::Instant;

/// So many faults have lines of their own at once, and the next one after a pause.
const FAULTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// So many lines are logged within a minute: whoever may register hosts that do not answer can cause any
/// number. With those of the panic threshold they are ten.
const LINES: usize = 8;

/// Decides which faults are logged, so that the end of a fault is logged if its beginning was.
pub(super) struct FaultLog {
    lines: LineQuota,
    throttle: LogThrottle,
    /// The addresses whose fault was logged.
    logged: BTreeSet<Arc<str>>,
}

impl FaultLog {
    pub(super) fn new() -> Self {
        Self {
            lines: LineQuota::new(LINES),
            throttle: LogThrottle::new(FAULTS).with_first_pause(FIRST_PAUSE),
            logged: BTreeSet::new(),
        }
    }

    /// Whether to log that a fault of `address` begins.
    pub(super) fn begins(&mut self, address: &Arc<str>, now: Instant) -> bool {
        let throttle = &mut self.throttle;
        let is_logged = self.lines.allows_if(now, || throttle.allows(now));
        if is_logged {
            self.logged.insert(address.clone());
        }
        is_logged
    }

    /// Whether to log that the fault of `address` has ended.
    pub(super) fn ends(&mut self, address: &str, now: Instant) -> bool {
        self.logged.remove(address) && self.lines.allows(now)
    }

    /// The address has gone.
    pub(super) fn forget(&mut self, address: &str) {
        self.logged.remove(address);
    }
}
