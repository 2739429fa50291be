//! The holdings of a client: its ledger and leases, compared with the registry. No I/O; the
//! registry's store is passed in.

use crate::store::{Store, Stored};
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

    /// Whether what stands has an older modification than what this client put. Modifications only
    /// grow, so the history went back.
    pub(crate) fn is_newer_than(&self, stored: &Stored) -> bool {
        stored.modified <= self.modified
    }

    /// The modification of an entry that somebody gave another value and left on its lease.
    pub(crate) fn overwritten(&self, stored: &Stored) -> Option<u64> {
        let is_on_lease = stored.lease.as_ref() == Some(&self.lease);
        (is_on_lease && stored.modified > self.modified).then_some(stored.modified)
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

    /// Whether what stands is this client's own from before, or older than that: the history went back.
    pub(crate) fn is_rolled_back(&self, mark: &Mark, stored: &Stored) -> bool {
        let lease = stored.lease.as_ref();
        mark.is_newer_than(stored) || lease.is_some_and(|lease| self.ledger.is_former(lease))
    }

    /// Why the entry is lost while its lease lives, if it is.
    fn loss(&self, mark: &Mark, store: &Store) -> Option<Lost> {
        if mark.stands(store) {
            return None;
        }
        match store.get(mark.key.as_str()) {
            Some(stored) if self.is_rolled_back(mark, stored) => Some(Lost::RolledBack),
            Some(stored) if mark.overwritten(stored).is_some() => {
                Some(Lost::overwritten(stored.value.clone()))
            }
            Some(stored) => Some(Lost::taken(stored.value.clone())),
            None => store.lease(&mark.lease).map(|_| Lost::KeyDeleted),
        }
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

    /// Reads what the registry did since the last time, and tells the registrations that are lost.
    /// Costs as much as there is to read.
    pub(crate) fn catch_up(&mut self, store: &mut Store) {
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
        let is_known = known == history.id();
        let lost = |(id, mark): (RegistrationId, &Mark)| Some((id, self.loss(mark, store)?));
        let losses: Vec<_> = match is_known.then(|| history.after(revision)).flatten() {
            Some(records) => records
                .flatten()
                .filter_map(|change| self.ledger.held_at(change.key()))
                .filter_map(lost)
                .collect(),
            None => self.ledger.held().filter_map(lost).collect(),
        };
        let rolled_back = losses.iter().filter(|(_, why)| *why == Lost::RolledBack);
        match rolled_back.count() {
            0 => {}
            keys => tracing::warn!(keys, "the history of the registry went back"),
        }
        if !is_known {
            self.sweep(store);
        }
        for (id, why) in losses {
            self.ledger.lost(id, why);
        }
        for lease in dead {
            self.keep_alives.remove(&lease);
            self.ledger.lease_lost(&lease);
        }
    }

    /// Removes what is on this client's leases and is none of its own: a restore has brought back
    /// what was deregistered.
    fn sweep(&self, store: &mut Store) {
        let leases = self.ledger.leases().filter_map(|lease| store.lease(lease));
        let returned: Vec<Key> = leases
            .flat_map(|lease| &lease.keys)
            .filter(|key| self.ledger.held_at(key).is_none())
            .cloned()
            .collect();
        for key in &returned {
            store.delete(key);
        }
    }

    /// Ends everything, and returns the leases to be revoked.
    pub(crate) fn close(&mut self) -> Vec<LeaseId> {
        self.keep_alives.clear();
        let removals = self.ledger.close().into_iter();
        removals.filter_map(|removal| removal.lease).collect()
    }
}
