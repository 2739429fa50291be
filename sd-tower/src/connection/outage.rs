//! Outages: failed connects in a row, and the pauses between them. A state machine without I/O.

use super::connect_error::ConnectError;
use sd_core::{Backoff, Connectivity};
use std::sync::Arc;
use tokio::time::Instant;

/// Counts the time of failed connects, and spaces them.
#[derive(Debug)]
pub(super) struct Outage {
    backoff: Backoff,
    /// When the first connect of those in a row failed.
    since: Option<Instant>,
}

impl Outage {
    /// No connect has failed yet.
    pub(super) fn none(backoff: Backoff) -> Self {
        Self {
            backoff,
            since: None,
        }
    }

    /// A connect has failed. Returns when to connect again, and the state until then.
    pub(super) fn failed(&mut self, error: ConnectError, now: Instant) -> (Instant, Connectivity) {
        let next_attempt = now + self.backoff.next_delay();
        let state = Connectivity::Failing {
            cause: Arc::new(error),
            since: *self.since.get_or_insert(now),
            next_attempt: Some(next_attempt),
        };
        (next_attempt, state)
    }

    /// A connect has succeeded, and what it is worth is not known yet. If another one fails, the pauses go on growing.
    #[cfg(feature = "tonic")]
    pub(super) fn ended(&mut self) {
        self.since = None;
    }

    /// The connection is good. The pauses begin anew.
    pub(super) fn forget(&mut self) {
        self.since = None;
        self.backoff.reset();
    }
}
