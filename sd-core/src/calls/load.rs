//! The load of a host, as far as this process causes it.

use super::observer::EndedCall;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// Counts the calls in flight to one host. Takes no lock.
#[derive(Debug, Default)]
pub(super) struct Load {
    pending: AtomicUsize,
}

impl Load {
    /// How many calls are in flight.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    pub(super) fn picked(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, _after: Duration) {}

    pub(super) fn ended(&self, _call: &EndedCall) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }
}
