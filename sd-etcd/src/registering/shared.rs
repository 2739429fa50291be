//! What the sessions of one client share.

use super::{contenders::Contenders, own_keys::OwnKeys};
use sd_core::{FormerLeases, Generation, LeaseId, RegistrationId, Ttl};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

#[derive(Default)]
pub(crate) struct Shared {
    calls: AtomicU64,
    pub(super) contenders: Arc<Contenders>,
    pub(crate) own_keys: Arc<OwnKeys>,
    leases: Mutex<Leases>,
}

#[derive(Default)]
struct Leases {
    /// The newest last.
    current: Vec<SharedLease>,
    former: FormerLeases,
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

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn newest_lease(&self) -> Option<LeaseId> {
        let leases = self.leases();
        let newest = leases.current.last();
        newest.map(|lease| LeaseId::from(lease.id))
    }

    pub(super) fn add_lease(&self, lease: i64) {
        self.leases().current.push(SharedLease {
            id: lease,
            ttl: None,
        });
    }

    pub(super) fn remove_lease(&self, lease: i64) {
        let mut leases = self.leases();
        leases.current.retain(|other| other.id != lease);
        leases.former.add(LeaseId::from(lease));
    }

    /// Whether a session of the client has had `lease`, and none uses it now.
    pub(super) fn is_former(&self, lease: i64) -> bool {
        self.leases().former.contains(&LeaseId::from(lease))
    }

    pub(crate) fn newest_ttl(&self) -> Option<Ttl> {
        self.leases().current.last()?.ttl
    }

    pub(super) fn set_ttl(&self, lease: i64, ttl: Ttl) {
        let mut leases = self.leases();
        if let Some(lease) = leases.current.iter_mut().find(|it| it.id == lease) {
            lease.ttl = Some(ttl);
        }
    }
}
