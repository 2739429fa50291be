//! The ledger of a client: which registration holds which key, on which lease.

mod calls;
mod leases;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use calls::Call;

use super::{
    error::{Error, Result},
    key::{Key, ServiceKey},
    lease::{LeaseId, Ttl},
    lease_proof::LeaseProof,
    lost_leases::LostLeases,
    registration::{LossSender, Lost, Reclaim, Registration},
    registration_id::RegistrationId,
    service::Service,
};
use calls::Calls;
use leases::Leases;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// The registrations of one client, for authors of a [`Client`](crate::Client).
///
/// Every backend needs the same bookkeeping. It has to know which registration holds which key, on
/// which lease. A `register` supersedes one of an older [generation](crate::Generation), and is refused
/// by one of a newer. A deregistration ends what its owner
/// registered and nothing else, and calls that began before it must not put anything after it. A
/// dropped handle removes its entry. A lease is revoked with its last service. The ledger keeps
/// track of all that, and tells each [`Registration`] when it is lost. It does no I/O, never waits
/// and runs no task: the backend talks to its registry and reports the outcome.
///
/// `M`, the *mark*, is what distinguishes the backend's own entry from a successor's, so that a
/// removal does not hit the successor: in etcd the key, the lease and the modification revision.
///
/// | when | the backend calls | and then |
/// |---|---|---|
/// | `register` or `reclaim` begins | [`register`](Self::register), [`reclaim`](Self::reclaim) | picks or grants a lease ([`lease_for`](Self::lease_for)) |
/// | it is about to put the entry | [`admit`](Self::admit) | puts nothing if that fails |
/// | the registry has the entry | [`hold`](Self::hold) | returns the registration, carries out the removals |
/// | the registry confirms a keep-alive | [`confirmed`](Self::confirmed) | |
/// | a keep-alive fails | [`not_confirmed`](Self::not_confirmed) | tries again |
/// | `deregister` | [`deregister`](Self::deregister) | carries out the removal |
/// | a handle was dropped | [`release`](Self::release) or [`release_dropped`](Self::release_dropped) | carries out the removals |
/// | the registry says that an entry is gone | [`lost`](Self::lost) | |
/// | the registry says that a lease is gone | [`lease_lost`](Self::lease_lost) | |
/// | the client ends | [`close`](Self::close) | carries out the removals |
///
/// Each [`Removal`] is returned once. The backend carries it out, now or when the registry answers
/// again.
///
/// ```
/// use sd_core::{Deregistered, LeaseId, Ledger, Lost, NoReclaim, Owner, Service};
///
/// let mut ledger = Ledger::<u64>::default();
/// let service = Service::new("/services/hello/a", "10.0.0.1:80")?;
/// let [old, new] = [0, 1].map(|_| service.clone().owned_by(Owner::new()));
///
/// let call = ledger.register(&old)?;
/// let lease = ledger.lease_for(old.ttl).unwrap_or_else(|| LeaseId::from(7));
/// ledger.admit(&call)?;
/// let modification = 1; // what the registry answered to the put
/// let (before, removals) = ledger.hold(call, &lease, modification, NoReclaim);
/// assert!(removals.is_empty());
///
/// // Another part of the program registers the same key: the ledger tells the first.
/// let call = ledger.register(&new)?;
/// ledger.admit(&call)?;
/// let (after, _) = ledger.hold(call, &lease, 2, NoReclaim);
/// assert_eq!(before.loss(), Some(Lost::Superseded));
///
/// // The first one ends what is its own, which is nothing any more.
/// assert!(ledger.deregister(&old)?.is_none());
/// assert_eq!(after.loss(), None);
///
/// // The second one's entry is to be removed, and the lease revoked.
/// let removal = ledger.deregister(&new)?.ok_or("nothing held")?;
/// assert_eq!((removal.mark, removal.lease), (2, Some(lease)));
/// assert_eq!(after.loss(), Some(Lost::Deregistered));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ledger<M> {
    calls: Calls,
    /// Ordered by id, so that losses are reported in a reproducible order.
    registrations: BTreeMap<RegistrationId, Held<M>>,
    by_key: HashMap<Key, RegistrationId>,
    by_service: HashMap<ServiceKey, RegistrationId>,
    leases: Leases,
    lost_leases: LostLeases,
    closed: bool,
}

/// An entry that the backend must remove from the registry, since its registration has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal<M> {
    /// The registered service. Its [owner](Service::owner) is always set.
    pub service: Service,
    /// The key of the entry.
    pub key: Key,
    /// The backend's mark of the entry. Remove the key only if the registry still holds this entry.
    pub mark: M,
    /// The lease to revoke, if the entry was the last on it.
    pub lease: Option<LeaseId>,
}

/// A registration that has not ended: it is held, or it is lost and can be reclaimed.
#[derive(Debug)]
struct Held<M> {
    service: Service,
    key: Key,
    mark: M,
    /// `None` once the lease is lost.
    lease: Option<LeaseId>,
    loss: LossSender,
    /// Whether its handle was told of a loss. It stays on its lease, since it can be reclaimed.
    is_lost: bool,
}

impl<M> Default for Ledger<M> {
    fn default() -> Self {
        Self {
            calls: Calls::default(),
            registrations: BTreeMap::new(),
            by_key: HashMap::new(),
            by_service: HashMap::new(),
            leases: Leases::default(),
            lost_leases: LostLeases::default(),
            closed: false,
        }
    }
}

// === Calls of the client ===

impl<M> Ledger<M> {
    /// Begins a call of [`Client::register`](crate::Client::register). Of two calls for one key, the
    /// one with the greater [id](Call::id) supersedes the other.
    ///
    /// Dropping the [`Call`] cancels it.
    ///
    /// # Errors
    /// [`Error::Closed`] after [`close`](Self::close).
    pub fn register(&mut self, service: &Service) -> Result<Call> {
        self.open()?;
        Ok(self.calls.begin(service, false))
    }

    /// Begins a call of [`Reclaim::reclaim`], for the service of the [`Call`] that made the
    /// registration.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn reclaim(&mut self, service: &Service) -> Result<Call> {
        self.open()?;
        Ok(self.calls.begin(service, true))
    }

    /// Checks whether the call may still put its entry. Call this right before the put.
    ///
    /// # Errors
    /// [`Error::Superseded`] if a call with a greater id has already registered its key, or another
    /// owner has superseded the registration to reclaim. [`Error::Closed`] if the service was
    /// deregistered since the call began, or the ledger is closed.
    pub fn admit(&self, call: &Call) -> Result<()> {
        match self.refusal(call) {
            Some(Lost::Superseded) => Err(Error::Superseded),
            Some(_) => Err(Error::Closed),
            None => Ok(()),
        }
    }

    /// Records that the registry has put the entry of `call` on `lease`, with `mark`. Returns the
    /// registration, and the removals to carry out: that of the superseded registration, if its
    /// entry is under another key or was the last on another lease.
    ///
    /// If the call may no longer put anything (see [`admit`](Self::admit)), the returned
    /// registration is already lost, and the new entry is among the removals.
    #[must_use = "the removals are to be carried out"]
    pub fn hold(
        &mut self,
        call: Call,
        lease: &LeaseId,
        mark: M,
        reclaim: impl Reclaim,
    ) -> (Registration, Vec<Removal<M>>) {
        let refusal = self.refusal(&call);
        let id = call.id();
        let service = call.into_service();
        let key = service.key.under(lease);
        if let Some(why) = refusal {
            let proof = LeaseProof::lasting(lease.clone());
            let (loss, registration) = Registration::channel(key.clone(), &proof, reclaim);
            loss.send(why);
            let is_used = self.leases.contains(lease);
            if !is_used {
                self.leases.unused(lease);
            }
            let removal = Removal {
                service,
                key,
                mark,
                lease: (!is_used).then(|| lease.clone()),
            };
            return (registration, vec![removal]);
        }
        self.lost_leases.stands(&service.key, lease);
        let proof = self.leases.join(lease, service.ttl, id);
        let (loss, registration) = Registration::channel(key.clone(), &proof, reclaim);
        let before = BTreeSet::from_iter(
            [
                self.by_key.insert(key.clone(), id),
                self.by_service.insert(service.key.clone(), id),
            ]
            .into_iter()
            .flatten(),
        );
        let held = Held {
            service,
            key: key.clone(),
            mark,
            lease: Some(lease.clone()),
            loss,
            is_lost: false,
        };
        self.registrations.insert(id, held);
        let superseded = before
            .into_iter()
            .filter_map(|id| self.end(id, Lost::Superseded))
            // Under the same key, the new entry has overwritten the old one.
            .filter(|removal| removal.key != key || removal.lease.is_some())
            .collect();
        (registration, superseded)
    }

    /// Records that a reclaim found somebody else's entry. [`LostLeases`] no longer waits for the
    /// service.
    pub fn taken(&mut self, call: &Call) {
        self.lost_leases.forget(&call.service().key);
    }

    /// Ends the registration of `service` and all pending calls for it: those of its
    /// [owner](Service::owner), or all for its key if it has no owner. `None` if there is no such
    /// registration, or another owner has superseded it.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn deregister(&mut self, service: &Service) -> Result<Option<Removal<M>>> {
        self.open()?;
        self.calls.cancel(service);
        let Some(id) = self.by_service.get(&service.key).copied() else {
            return Ok(None);
        };
        let owner = self.registrations.get(&id).map(|held| held.service.owner());
        if service.owner().is_some() && owner != Some(service.owner()) {
            return Ok(None);
        }
        self.lost_leases.forget(&service.key);
        Ok(self.end(id, Lost::Deregistered))
    }

    /// Ends a registration whose handle was dropped, which its [`Reclaim`] notices. `None` if the
    /// registration has ended already.
    #[must_use = "the removal is to be carried out"]
    pub fn release(&mut self, id: RegistrationId) -> Option<Removal<M>> {
        let service = &self.registrations.get(&id)?.service.key;
        if self.by_service.get(service) == Some(&id) {
            self.lost_leases.forget(service);
        }
        self.end(id, Lost::Closed)
    }

    /// [Releases](Self::release) all registrations whose handles were dropped, for a backend that
    /// polls.
    #[must_use = "the removals are to be carried out"]
    pub fn release_dropped(&mut self) -> Vec<Removal<M>> {
        let registrations = self.registrations.iter();
        let dropped: Vec<_> = registrations
            .filter(|(_, held)| held.loss.is_dropped())
            .map(|(id, _)| *id)
            .collect();
        dropped
            .into_iter()
            .filter_map(|id| self.release(id))
            .collect()
    }

    /// Closes the ledger: every registration is lost with [`Lost::Closed`], and later calls fail.
    #[must_use = "the removals are to be carried out"]
    pub fn close(&mut self) -> Vec<Removal<M>> {
        self.closed = true;
        let ids: Vec<_> = self.registrations.keys().copied().collect();
        ids.into_iter()
            .filter_map(|id| self.end(id, Lost::Closed))
            .collect()
    }
}

// === Losses reported by the registry ===

impl<M> Ledger<M> {
    /// Records that the registry no longer holds the entry, and tells the handle `why`. `false` if
    /// there is no such registration, or its handle was told of a loss before.
    ///
    /// The registration stays on its lease until it is reclaimed, dropped or deregistered, so that
    /// a reclaim uses the same lease.
    pub fn lost(&mut self, id: RegistrationId, why: Lost) -> bool {
        let held = self.registrations.get_mut(&id);
        held.is_some_and(|held| held.tell(why))
    }

    /// The registry has confirmed a keep-alive of the lease that was sent at `sent_at`, as
    /// [`ProofSender::confirmed`](crate::ProofSender::confirmed) says. Until the first one the lease counts as granted when its
    /// first service was held, for the TTL of that.
    pub fn confirmed(&self, lease: &LeaseId, ttl: Duration, sent_at: Instant) {
        if let Some(proof) = self.leases.proof(lease) {
            proof.confirmed(ttl, sent_at);
        }
    }

    /// A keep-alive of the lease has failed, which is not a loss. See [`ProofSender::failed`](crate::ProofSender::failed).
    pub fn not_confirmed(&self, lease: &LeaseId, why: Error) {
        if let Some(proof) = self.leases.proof(lease) {
            proof.failed(why);
        }
    }

    /// The registry said that the lease is gone, and all that hung on it: tells every handle that
    /// was not told of a loss before. [Logged](LostLeases) once, however many there are.
    pub fn lease_lost(&mut self, lease: &LeaseId) {
        let Some(registrations) = self.leases.take(lease) else {
            return;
        };
        let mut services = Vec::new();
        for id in registrations {
            if let Some(held) = self.registrations.get_mut(&id) {
                held.lease = None;
                if held.tell(Lost::LeaseExpired) {
                    services.push(held.service.key.clone());
                }
            }
        }
        self.lost_leases.lost(lease, services);
    }
}

// === Queries ===

impl<M> Ledger<M> {
    /// The lease for services of this TTL, if there is one.
    pub fn lease_for(&self, ttl: Ttl) -> Option<LeaseId> {
        self.leases.of_ttl(ttl).cloned()
    }

    /// The key that the service's entry would have now. `None` if the key ends in the id of a lease
    /// that is not granted yet, so that nobody can hold it.
    pub fn key_for(&self, service: &Service) -> Option<Key> {
        match self.leases.of_ttl(service.ttl) {
            Some(lease) => Some(service.key.under(lease)),
            None => service.key.fixed().cloned(),
        }
    }

    /// What [`Client::lease_id`](crate::Client::lease_id) answers: the newest lease.
    pub fn lease_id(&self) -> Option<LeaseId> {
        self.leases.ids().next_back().cloned()
    }

    /// The leases in use, the oldest first.
    pub fn leases(&self) -> impl Iterator<Item = &LeaseId> {
        self.leases.ids()
    }

    /// Whether an entry on `lease` is this client's own, from before: it has had the lease and no longer
    /// uses it. If such an entry stands under the key of a registration, the registry's history went
    /// back, whatever its modification is; see [`FormerLeases`](crate::FormerLeases).
    pub fn is_former(&self, lease: &LeaseId) -> bool {
        self.leases.is_former(lease)
    }

    /// The registrations that are not lost, the oldest first.
    pub fn held(&self) -> impl Iterator<Item = (RegistrationId, &M)> {
        let registrations = self.registrations.iter();
        registrations
            .filter(|(_, held)| !held.is_lost)
            .map(|(id, held)| (*id, &held.mark))
    }

    /// The registration under `key`, unless it is lost.
    pub fn held_at(&self, key: &Key) -> Option<(RegistrationId, &M)> {
        let id = self.by_key.get(key)?;
        let held = self.registrations.get(id).filter(|held| !held.is_lost)?;
        Some((*id, &held.mark))
    }

    /// Whether the ledger was [closed](Self::close).
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

// === Internals ===

impl<M> Ledger<M> {
    fn open(&self) -> Result<()> {
        match self.closed {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// Why the call may not put its entry. `None` if it may.
    fn refusal(&self, call: &Call) -> Option<Lost> {
        if self.closed {
            return Some(Lost::Closed);
        }
        if self.calls.is_cancelled(call) {
            return Some(Lost::Deregistered);
        }
        let service = call.service();
        let holder = self.by_service.get(&service.key)?;
        let owner = self.registrations.get(holder)?.service.owner();
        let is_later = *holder > call.id();
        let is_others = call.is_reclaim() && owner != service.owner();
        (is_later || is_others).then_some(Lost::Superseded)
    }

    /// Removes the registration and tells its handle `why`.
    fn end(&mut self, id: RegistrationId, why: Lost) -> Option<Removal<M>> {
        let mut held = self.registrations.remove(&id)?;
        if self.by_key.get(&held.key) == Some(&id) {
            self.by_key.remove(&held.key);
        }
        if self.by_service.get(&held.service.key) == Some(&id) {
            self.by_service.remove(&held.service.key);
        }
        held.tell(why);
        let lease = held.lease.filter(|lease| self.leases.leave(lease, id));
        Some(Removal {
            service: held.service,
            key: held.key,
            mark: held.mark,
            lease,
        })
    }
}

impl<M> Held<M> {
    /// Tells the handle `why`, unless it was told of a loss before.
    fn tell(&mut self, why: Lost) -> bool {
        if self.is_lost {
            return false;
        }
        self.is_lost = true;
        self.loss.tell(why);
        true
    }
}
