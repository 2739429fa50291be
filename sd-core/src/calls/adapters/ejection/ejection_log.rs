//! The log of ejections: a line when an endpoint is ejected, and one when it returns.

use super::outlier_detector::Change;
use crate::{registry::Escaped, support::LogThrottle};
use std::{collections::BTreeSet, sync::Arc};
use tokio::time::Instant;

/// So many ejections have a line of their own at once.
const LINES: u32 = 16;

pub(super) struct EjectionLog {
    throttle: LogThrottle,
    /// The addresses whose ejection was logged, so that their return is logged too.
    logged: BTreeSet<Arc<str>>,
}

impl EjectionLog {
    pub(super) fn new() -> Self {
        Self {
            throttle: LogThrottle::new(LINES),
            logged: BTreeSet::new(),
        }
    }

    pub(super) fn log(&mut self, change: &Change, now: Instant) {
        match change {
            Change::Ejected(ejected) => {
                if !self.throttle.allows(now) {
                    return;
                }
                tracing::warn!(
                    address = %Escaped(&ejected.address),
                    reason = %ejected.reason,
                    ejection_time = ?ejected.ejection_time(),
                    "endpoint ejected"
                );
                self.logged.insert(ejected.address.clone());
            }
            Change::Returned(ejected) => {
                if self.logged.remove(&ejected.address) {
                    let after = now.saturating_duration_since(ejected.since);
                    tracing::info!(
                        address = %Escaped(&ejected.address),
                        ?after,
                        "endpoint returned from its ejection"
                    );
                }
            }
            Change::Forgotten(ejected) => {
                self.logged.remove(&ejected.address);
            }
        }
    }
}
