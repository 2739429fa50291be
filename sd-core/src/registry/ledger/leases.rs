//! The leases of one client, and the registrations on them.

use super::RegistrationId;
use crate::registry::{
    former_leases::FormerLeases,
    lease::{LeaseId, Ttl},
    lease_proof::{LeaseProof, ProofSender},
};
use std::collections::BTreeSet;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Leases {
    /// The leases with registrations, the newest last.
    current: Vec<Lease>,
    former: FormerLeases,
}

#[derive(Debug)]
struct Lease {
    id: LeaseId,
    ttl: Ttl,
    proof: ProofSender,
    registrations: BTreeSet<RegistrationId>,
}

impl Leases {
    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = &LeaseId> {
        self.current.iter().map(|lease| &lease.id)
    }

    pub(super) fn of_ttl(&self, ttl: Ttl) -> Option<&LeaseId> {
        let lease = self.current.iter().find(|lease| lease.ttl == ttl)?;
        Some(&lease.id)
    }

    pub(super) fn contains(&self, id: &LeaseId) -> bool {
        self.ids().any(|other| other == id)
    }

    pub(super) fn proof(&self, id: &LeaseId) -> Option<&ProofSender> {
        let lease = self.current.iter().find(|lease| lease.id == *id)?;
        Some(&lease.proof)
    }

    /// Puts the registration on the lease, which may be new.
    pub(super) fn join(
        &mut self,
        id: &LeaseId,
        ttl: Ttl,
        registration: RegistrationId,
    ) -> LeaseProof {
        let place = self.current.iter().position(|lease| lease.id == *id);
        let place = place.unwrap_or_else(|| {
            self.current.push(Lease {
                id: id.clone(),
                ttl,
                proof: ProofSender::new(id.clone(), ttl.duration(), Instant::now()),
                registrations: BTreeSet::new(),
            });
            self.current.len() - 1
        });
        let lease = &mut self.current[place];
        lease.registrations.insert(registration);
        lease.proof.proof().clone()
    }

    /// Takes the registration off the lease. Returns `true` if it was the last, and forgets the
    /// lease.
    pub(super) fn leave(&mut self, id: &LeaseId, registration: RegistrationId) -> bool {
        let Some(lease) = self.current.iter_mut().find(|lease| lease.id == *id) else {
            return false;
        };
        lease.registrations.remove(&registration);
        let is_empty = lease.registrations.is_empty();
        if is_empty {
            self.take(id);
        }
        is_empty
    }

    /// Forgets the lease, and returns the registrations that were on it.
    pub(super) fn take(&mut self, id: &LeaseId) -> Option<BTreeSet<RegistrationId>> {
        let place = self.current.iter().position(|lease| lease.id == *id)?;
        self.former.add(id.clone());
        Some(self.current.remove(place).registrations)
    }

    /// The lease is given up before any registration has joined it.
    pub(super) fn unused(&mut self, id: &LeaseId) {
        self.former.add(id.clone());
    }

    pub(super) fn is_former(&self, id: &LeaseId) -> bool {
        self.former.contains(id) && !self.contains(id)
    }
}
