//! What the sessions of one client share.

use sd_core::LeaseId;
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

#[derive(Default)]
pub(crate) struct Shared {
    next_id: AtomicU64,
    /// The newest last.
    leases: Mutex<Vec<i64>>,
}

impl Shared {
    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn leases(&self) -> MutexGuard<'_, Vec<i64>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn newest_lease(&self) -> Option<LeaseId> {
        self.leases().last().map(|lease| LeaseId::from(*lease))
    }

    pub(super) fn add_lease(&self, lease: i64) {
        self.leases().push(lease);
    }

    pub(super) fn remove_lease(&self, lease: i64) {
        self.leases().retain(|other| *other != lease);
    }
}
