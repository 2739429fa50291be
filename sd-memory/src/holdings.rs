//! The holdings of a client: its ledger and leases, compared with the registry. No I/O; the
//! registry's store is passed in.

use crate::store::Store;
use sd_core::{
    Call, Deregistered, Key, LeaseId, Ledger, Lost, Reclaim, Registration, RegistrationId, Removal,
    Ttl,
};
use std::collections::HashMap;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Identifies a client's own entry: key, lease and modification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) key: Key,
    pub(crate) lease: LeaseId,
    pub(crate) modified: u64,
}

impl Mark {
    /// Whether the registry still holds what this client put.
    pub(crate) fn stands(&self, store: &Store) -> bool {
        store.get(self.key.as_str()).is_some_and(|stored| {
            stored.modified == self.modified && stored.lease.as_ref() == Some(&self.lease)
        })
    }

    /// Why the entry is lost although its lease still exists. `None` if it is not lost.
    fn loss(&self, store: &Store) -> Option<Lost> {
        if self.stands(store) {
            return None;
        }
        match store.get(self.key.as_str()) {
            Some(stored) => Some(Lost::taken(stored.value.clone())),
            None => store.lease(&self.lease).map(|_| Lost::KeyDeleted),
        }
    }
}

/// The registrations and leases of a client.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    pub(crate) ledger: Ledger<Mark>,
    /// Dropping a guard ends the keep-alive of its lease.
    keep_alives: HashMap<LeaseId, DropGuard>,
    /// Up to where the registry was read: the id of the history, and the revision.
    read: (u64, u64),
}

impl Holdings {
    /// Whether there is no registration that could be lost.
    pub(crate) fn is_idle(&self) -> bool {
        self.ledger.leases().next().is_none()
    }

    /// Grants a lease for services of this TTL. Returns it with the token that ends its keep-alive.
    pub(crate) fn grant(
        &mut self,
        ttl: Ttl,
        store: &mut Store,
        now: Instant,
    ) -> (LeaseId, CancellationToken) {
        let lease = store.grant(ttl.duration(), now);
        let stop = CancellationToken::new();
        let stop_on_drop = stop.clone().drop_guard();
        self.keep_alives.insert(lease.clone(), stop_on_drop);
        (lease, stop)
    }

    /// Records that the entry of `call` was put.
    pub(crate) fn hold(
        &mut self,
        call: Call,
        mark: Mark,
        reclaim: impl Reclaim,
        store: &mut Store,
    ) -> Registration {
        let lease = mark.lease.clone();
        let (registration, removals) = self.ledger.hold(call, &lease, mark, reclaim);
        for removal in removals {
            self.let_go(&removal);
            Self::carry_out(&removal, store);
        }
        registration
    }

    /// Ends the keep-alive of the lease that `removal` revokes.
    pub(crate) fn let_go(&mut self, removal: &Removal<Mark>) {
        if let Some(lease) = &removal.lease {
            self.keep_alives.remove(lease);
        }
    }

    /// Removes the entry if it is still ours, and revokes the lease if it was the last entry on it.
    pub(crate) fn carry_out(removal: &Removal<Mark>, store: &mut Store) -> Deregistered {
        let is_ours = removal.mark.stands(store);
        match &removal.lease {
            // Revoking the lease removes the entry, at one revision.
            Some(lease) => {
                store.revoke(lease);
            }
            None if is_ours => {
                store.delete(&removal.key);
            }
            None => {}
        }
        match is_ours {
            true => Deregistered::Removed,
            false => Deregistered::NotOurs,
        }
    }

    /// Reads the registry's changes since the last call, and reports lost registrations. The cost
    /// grows with the number of changes.
    pub(crate) fn catch_up(&mut self, store: &Store) {
        let dead: Vec<LeaseId> = self
            .ledger
            .leases()
            .filter(|lease| store.lease(lease).is_none())
            .cloned()
            .collect();
        if self.is_idle() {
            return;
        }
        let history = store.history();
        let (known, revision) =
            std::mem::replace(&mut self.read, (history.id(), history.revision()));
        if dead.is_empty() && self.read == (known, revision) {
            return;
        }
        let records = (known == history.id())
            .then(|| history.after(revision))
            .flatten();
        let lost = |(id, mark): (RegistrationId, &Mark)| Some((id, mark.loss(store)?));
        let losses: Vec<_> = match records {
            Some(records) => records
                .flatten()
                .filter_map(|change| self.ledger.held_at(change.key()))
                .filter_map(lost)
                .collect(),
            None => self.ledger.held().filter_map(lost).collect(),
        };
        for (id, why) in losses {
            self.ledger.lost(id, why);
        }
        for lease in dead {
            self.keep_alives.remove(&lease);
            self.ledger.lease_lost(&lease);
        }
    }

    /// Ends everything, and returns the leases to revoke.
    pub(crate) fn close(&mut self) -> Vec<LeaseId> {
        self.keep_alives.clear();
        let removals = self.ledger.close().into_iter();
        removals.filter_map(|removal| removal.lease).collect()
    }
}
