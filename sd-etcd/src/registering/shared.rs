//! What the sessions of one client share.

use super::contenders::Contenders;
use sd_core::{Generation, LeaseId, RegistrationId, Ttl};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

#[derive(Default)]
pub(crate) struct Shared {
    calls: AtomicU64,
    pub(super) contenders: Arc<Contenders>,
    /// The newest last.
    leases: Mutex<Vec<SharedLease>>,
}

struct SharedLease {
    id: i64,
    /// What etcd grants, once it has said it.
    ttl: Option<Ttl>,
}

impl Shared {
    /// Returns the id of a new registration, greater than all before it of this generation.
    pub(crate) fn next_id(&self, generation: Generation) -> RegistrationId {
        RegistrationId::new(generation, self.calls.fetch_add(1, Ordering::Relaxed))
    }

    fn leases(&self) -> MutexGuard<'_, Vec<SharedLease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn newest_lease(&self) -> Option<LeaseId> {
        self.leases().last().map(|lease| LeaseId::from(lease.id))
    }

    pub(super) fn add_lease(&self, lease: i64) {
        self.leases().push(SharedLease {
            id: lease,
            ttl: None,
        });
    }

    pub(super) fn remove_lease(&self, lease: i64) {
        self.leases().retain(|other| other.id != lease);
    }

    pub(crate) fn newest_ttl(&self) -> Option<Ttl> {
        self.leases().last()?.ttl
    }

    pub(super) fn set_ttl(&self, lease: i64, ttl: Ttl) {
        let mut leases = self.leases();
        if let Some(lease) = leases.iter_mut().find(|it| it.id == lease) {
            lease.ttl = Some(ttl);
        }
    }
}
