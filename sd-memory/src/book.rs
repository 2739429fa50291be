//! What a client holds: its registrations and their leases. Pure: the registry is passed in.

use crate::store::Store;
use sd_core::{Deregistered, Key, LeaseId, LossSender, Lost, LostLeases, ServiceKey, Ttl};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A registration as its client knows it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) service: ServiceKey,
    pub(crate) mark: Mark,
    /// Taken once the loss is told; the handle can still be reclaimed, so its lease is kept.
    pub(crate) loss: Option<LossSender>,
}

/// By which a client knows an entry as its own: same key, same lease, same modification.
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
}

/// A lease of this client.
#[derive(Debug)]
struct Tenancy {
    lease: LeaseId,
    ttl: Ttl,
    registrations: BTreeSet<u64>,
    /// Its last service has gone; it is to be revoked and serves no other.
    ending: bool,
    /// Ends its keep-alive.
    stop: CancellationToken,
}

/// The book that a client keeps.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// By their ids, and so in an order that repeats: losses are told in it.
    registrations: BTreeMap<u64, Held>,
    by_key: HashMap<Key, u64>,
    by_service: HashMap<ServiceKey, u64>,
    /// The newest last.
    leases: Vec<Tenancy>,
    lost_leases: LostLeases,
    /// The history, and the revision in it, up to which the book agrees with the registry.
    read: (u64, u64),
}

impl Book {
    /// The lease that the services hang on, the newest of several.
    pub(crate) fn lease(&self) -> Option<&LeaseId> {
        let tenancy = self.leases.iter().rev().find(|t| !t.ending)?;
        Some(&tenancy.lease)
    }

    /// Whether there is nothing left to hear of.
    pub(crate) fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }

    /// The lease that carries the services of this TTL.
    pub(crate) fn lease_of(&self, ttl: Ttl) -> Option<LeaseId> {
        let tenancy = self.leases.iter().find(|t| !t.ending && t.ttl == ttl)?;
        Some(tenancy.lease.clone())
    }

    /// Grants a lease for the services of this TTL, and the token that ends its keep-alive.
    pub(crate) fn grant(
        &mut self,
        ttl: Ttl,
        store: &mut Store,
        now: Instant,
    ) -> (LeaseId, CancellationToken) {
        let lease = store.grant(ttl.duration(), now);
        let stop = CancellationToken::new();
        self.leases.push(Tenancy {
            lease: lease.clone(),
            ttl,
            registrations: BTreeSet::new(),
            ending: false,
            stop: stop.clone(),
        });
        (lease, stop)
    }

    /// Writes down a registration that was just put. What it takes the place of is superseded, and
    /// removed if it stands elsewhere.
    pub(crate) fn hold(&mut self, id: u64, held: Held, store: &mut Store) {
        self.lost_leases.stands(&held.service, &held.mark.lease);
        if let Some(tenancy) = self.tenancy(&held.mark.lease) {
            tenancy.registrations.insert(id);
        }
        let before: BTreeSet<u64> = [
            self.by_key.insert(held.mark.key.clone(), id),
            self.by_service.insert(held.service.clone(), id),
        ]
        .into_iter()
        .flatten()
        .collect();
        self.registrations.insert(id, held);
        for old in before {
            if let Some(mark) = self.retire(old, Lost::Superseded) {
                self.settle(&mark, store);
            }
        }
    }

    /// Ends the registration on our side: it is told `why`, and its lease is not kept alive for it.
    /// What stands in the registry is to be [settled](Self::settle). `None` if it has ended before.
    pub(crate) fn retire(&mut self, id: u64, why: Lost) -> Option<Mark> {
        let mut held = self.registrations.remove(&id)?;
        if self.by_key.get(&held.mark.key) == Some(&id) {
            self.by_key.remove(&held.mark.key);
        }
        if self.by_service.get(&held.service) == Some(&id) {
            self.by_service.remove(&held.service);
        }
        if let Some(tenancy) = self.tenancy(&held.mark.lease) {
            tenancy.registrations.remove(&id);
            if tenancy.registrations.is_empty() {
                tenancy.ending = true;
                tenancy.stop.cancel();
            }
        }
        if let Some(loss) = held.loss.take() {
            loss.send(why);
        }
        Some(held.mark)
    }

    /// Removes what a retired registration left in the registry: its entry if that is still ours,
    /// and its lease if no other service hangs on it.
    pub(crate) fn settle(&mut self, mark: &Mark, store: &mut Store) -> Deregistered {
        let ours = mark.stands(store);
        let ending = |t: &Tenancy| t.ending && t.lease == mark.lease;
        match self.leases.iter().position(ending) {
            // The entry goes with the lease, in one revision.
            Some(index) => {
                self.leases.remove(index);
                store.revoke(&mark.lease);
            }
            None if ours => {
                store.delete(&mark.key);
            }
            None => {}
        }
        match ours {
            true => Deregistered::Removed,
            false => Deregistered::NotOurs,
        }
    }

    /// The service that a registration is of.
    pub(crate) fn service(&self, id: u64) -> Option<ServiceKey> {
        self.registrations.get(&id).map(|held| held.service.clone())
    }

    /// The registration that `service` has now.
    pub(crate) fn registration(&self, service: &ServiceKey) -> Option<u64> {
        self.by_service.get(service).copied()
    }

    /// Nobody wants the service back, if its lease was lost, or somebody else holds its key.
    pub(crate) fn forget(&mut self, service: &ServiceKey) {
        self.lost_leases.forget(service);
    }

    /// Reads what the registry did since the last time, and tells the registrations that are lost.
    /// Costs as much as there is to read.
    pub(crate) fn catch_up(&mut self, store: &Store) {
        if self.leases.is_empty() {
            // Nothing is held that could be lost.
            return;
        }
        let history = store.history();
        let (known, revision) =
            std::mem::replace(&mut self.read, (history.id(), history.revision()));
        if self.read == (known, revision)
            && self.leases.iter().all(|t| store.lease(&t.lease).is_some())
        {
            return;
        }
        let records = (known == history.id())
            .then(|| history.after(revision))
            .flatten();
        let touched: Vec<u64> = match records {
            Some(records) => records
                .flatten()
                .filter_map(|change| self.by_key.get(change.key()).copied())
                .collect(),
            None => self.registrations.keys().copied().collect(),
        };
        let mut expired = BTreeMap::<LeaseId, Vec<ServiceKey>>::new();
        for id in touched {
            if let Some(held) = self.registrations.get_mut(&id)
                && held.compare(store) == Some(Lost::LeaseExpired)
            {
                let lease = held.mark.lease.clone();
                expired.entry(lease).or_default().push(held.service.clone());
            }
        }
        self.drop_dead_leases(store);
        for (lease, services) in expired {
            self.lost_leases.lost(&lease, services);
        }
    }

    /// Ends everything: tells all registrations `why` and returns the leases.
    pub(crate) fn close(&mut self, why: &Lost) -> Vec<LeaseId> {
        self.by_key.clear();
        self.by_service.clear();
        for held in std::mem::take(&mut self.registrations).into_values() {
            if let Some(loss) = held.loss {
                loss.send(why.clone());
            }
        }
        let leases = self.leases.drain(..);
        leases
            .map(|tenancy| {
                tenancy.stop.cancel();
                tenancy.lease
            })
            .collect()
    }

    fn drop_dead_leases(&mut self, store: &Store) {
        let (alive, dead): (Vec<_>, Vec<_>) = std::mem::take(&mut self.leases)
            .into_iter()
            .partition(|tenancy| store.lease(&tenancy.lease).is_some());
        self.leases = alive;
        for tenancy in dead {
            tenancy.stop.cancel();
            for id in tenancy.registrations {
                self.retire(id, Lost::LeaseExpired);
            }
        }
    }

    fn tenancy(&mut self, lease: &LeaseId) -> Option<&mut Tenancy> {
        self.leases.iter_mut().find(|t| t.lease == *lease)
    }
}

impl Held {
    /// Tells the loss if the registry no longer holds what was put; gives back what was told.
    fn compare(&mut self, store: &Store) -> Option<Lost> {
        if self.mark.stands(store) {
            return None;
        }
        let loss = self.loss.take()?;
        let why = match store.get(self.mark.key.as_str()) {
            Some(stored) => Lost::taken(stored.value.clone()),
            None if store.lease(&self.mark.lease).is_none() => Lost::LeaseExpired,
            None => Lost::KeyDeleted,
        };
        loss.send(why.clone());
        Some(why)
    }
}
