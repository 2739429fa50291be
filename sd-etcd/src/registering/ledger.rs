//! The registrations that a session holds. Pure bookkeeping.

use super::{
    contenders::Contender,
    own_keys::OwnKey,
    requests::Scope,
    service_map::ServiceMap,
    shared::Shared,
    write::{Found, Guard},
};
use bytes::Bytes;
use sd_core::{LossSender, Lost, Owner, Reclaimed, RegistrationId, Result, ServiceKey};
use std::collections::HashSet;

/// How many values are remembered of puts that were given up.
const MAX_GIVEN_UP: usize = 8;

/// A registration that somebody has a handle of.
pub(super) struct Held {
    /// Has the id of the registration. A later one of the same service has another.
    pub(super) contender: Contender,
    pub(super) owner: Owner,
    /// Has the key watched.
    pub(super) own_key: OwnKey,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) lease: i64,
    /// The revision of our last write.
    pub(super) modified: i64,
    /// Tells the handle that the registration is lost. `None` after that.
    pub(super) loss: Option<LossSender>,
    /// What stood under the key when it was lost, or when it was reclaimed in vain.
    pub(super) found: Option<Found>,
    /// The values of puts that were given up and may still be carried out.
    pub(super) given_up: Vec<Bytes>,
}

/// What becomes of a put that is about to be sent.
pub(super) enum Decision {
    Send(Guard),
    Answer(Result<Reclaimed>),
    /// Ask first whether the entry of somebody else still stands.
    Look(Guard),
    /// The entry has this value already, of this modification, and is kept as it is.
    Keep(i64),
}

/// What an entry under the key of a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// What we wrote: same lease, same modification.
    Ours,
    /// A newer one on our lease.
    Overwritten,
    /// An older one, or one on a lease that this client had before. Modifications only grow, so the
    /// history went back.
    RolledBack,
    /// A newer one of somebody else.
    Taken,
}

impl Held {
    pub(super) fn id(&self) -> RegistrationId {
        self.contender.id()
    }

    /// Returns what is believed to stand, for a removal.
    pub(super) fn guard(&self) -> Guard {
        let (lease, modified) = (self.lease, self.modified);
        match self.is_lost() {
            true => Guard::Absent,
            false => Guard::Stands { lease, modified },
        }
    }

    /// Decides how to put `value` back, on `lease`.
    pub(super) fn reclaim(&self, value: &Bytes, lease: Option<i64>, shared: &Shared) -> Decision {
        let Some(found) = self.found.as_ref().filter(|_| self.is_lost()) else {
            return Decision::Send(self.guard());
        };
        match self.finding(found, lease, shared) {
            Finding::Overwritten if found.value == *value && lease == Some(found.lease) => {
                Decision::Keep(found.modified)
            }
            Finding::Taken => Decision::Look(found.guard()),
            _ => Decision::Send(found.guard()),
        }
    }

    /// Returns what `found`, under our key, is. `lease` is the current one; `shared` knows the former.
    pub(super) fn finding(&self, found: &Found, lease: Option<i64>, shared: &Shared) -> Finding {
        if (found.lease, found.modified) == (self.lease, self.modified) {
            Finding::Ours
        } else if found.modified <= self.modified || shared.is_former(found.lease) {
            Finding::RolledBack
        } else if found.lease == self.lease || Some(found.lease) == lease {
            Finding::Overwritten
        } else {
            Finding::Taken
        }
    }

    /// Whether `value` was put by us, now or in a put that was given up.
    pub(super) fn has_put(&self, value: &Bytes) -> bool {
        self.value == *value || self.given_up.contains(value)
    }

    pub(super) fn put_given_up(&mut self, value: Bytes) {
        if !self.given_up.contains(&value) {
            self.given_up.truncate(MAX_GIVEN_UP - 1);
            self.given_up.insert(0, value);
        }
    }

    /// Notes that somebody else holds the key with the entry `found`. Returns what a reclaim answers.
    pub(super) fn taken(&mut self, found: Found) -> Reclaimed {
        let value = found.value.clone();
        self.lose(Lost::taken(value.clone()));
        self.found = Some(found);
        Reclaimed::taken(value)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.loss.is_none()
    }

    pub(super) fn lose(&mut self, why: Lost) {
        if let Some(loss) = self.loss.take() {
            loss.send(why);
        }
    }
}

#[derive(Default)]
pub(super) struct Ledger {
    /// In boxes, since a table has room for up to twice as many.
    registrations: ServiceMap<Box<Held>>,
}

impl Ledger {
    pub(super) fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }

    pub(super) fn get(&self, service: &ServiceKey) -> Option<&Held> {
        self.registrations.get(service).map(|held| &**held)
    }

    pub(super) fn get_mut(&mut self, service: &ServiceKey) -> Option<&mut Held> {
        self.registrations.get_mut(service).map(|held| &mut **held)
    }

    /// Enters a registration. Returns the one that it replaces.
    pub(super) fn enter(&mut self, service: ServiceKey, held: Held) -> Option<Held> {
        let before = self.registrations.insert(service, Box::new(held));
        before.map(|held| *held)
    }

    pub(super) fn remove(&mut self, service: &ServiceKey) -> Option<Held> {
        self.registrations.remove(service).map(|held| *held)
    }

    /// Removes the registration of the service if it is within `scope`.
    pub(super) fn remove_within(&mut self, service: &ServiceKey, scope: Scope) -> Option<Held> {
        let held = self.registrations.get(service)?;
        let is_meant = scope.includes(held.id(), held.owner);
        is_meant.then(|| self.remove(service)).flatten()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Held> {
        self.registrations.drain().map(|(_, held)| *held)
    }

    /// Tells the handles of all registrations on `lease` that they are lost. Returns their services.
    pub(super) fn lease_lost(&mut self, lease: i64) -> Vec<ServiceKey> {
        self.registrations
            .iter_mut()
            .filter(|(_, held)| held.lease == lease && !held.is_lost())
            .map(|(service, held)| {
                held.lose(Lost::LeaseExpired);
                service.clone()
            })
            .collect()
    }

    /// Returns the held registrations on `lease`.
    pub(super) fn held_on(&self, lease: i64) -> impl Iterator<Item = (&ServiceKey, &Held)> {
        let all = self.registrations.iter();
        let all = all.map(|(service, held)| (service, &**held));
        all.filter(move |(_, held)| held.lease == lease && !held.is_lost())
    }

    pub(super) fn len(&self) -> usize {
        self.registrations.len()
    }

    /// Returns the size of all keys, in bytes.
    pub(super) fn size_of_keys(&self) -> usize {
        self.registrations.values().map(|held| held.key.len()).sum()
    }

    /// Returns those of `keys`, the keys of a lease at etcd, that no registration has: puts that were
    /// given up and took effect all the same.
    pub(super) fn strays(&self, mut keys: HashSet<Bytes>) -> Vec<Bytes> {
        for held in self.registrations.values() {
            keys.remove(&held.key);
        }
        keys.into_iter().collect()
    }
}

/// The key of a registration, for a look at what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldKey {
    pub(super) service: ServiceKey,
    pub(super) id: RegistrationId,
    pub(super) key: Bytes,
    /// The revision of our last write.
    pub(super) modified: i64,
}

impl HeldKey {
    pub(super) fn of((service, held): (&ServiceKey, &Held)) -> Self {
        Self {
            service: service.clone(),
            id: held.id(),
            key: held.key.clone(),
            modified: held.modified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registering::{
        contenders::{Contenders, Stage},
        own_keys::OwnKeys,
    };
    use sd_core::{Generation, Key, LeaseId, LeaseProof, NoReclaim, Registration};
    use std::sync::Arc;

    fn enter(ledger: &mut Ledger, name: &str, lease: i64) -> Registration {
        let key = Key::new(name).unwrap();
        let proof = LeaseProof::lasting(LeaseId::from(lease));
        let (loss, registration) = Registration::channel(key.clone(), &proof, NoReclaim);
        let service = ServiceKey::from(key);
        let id = RegistrationId::new(Generation::new(), 1);
        let contenders = Arc::new(Contenders::default());
        ledger.enter(
            service.clone(),
            Held {
                contender: contenders.enter(service, Stage::Held, id),
                owner: Owner::new(),
                own_key: Arc::<OwnKeys>::default().enter(
                    name.to_owned().into(),
                    Key::new(name).unwrap().into(),
                    3,
                    Arc::default(),
                ),
                key: name.to_owned().into(),
                value: Bytes::new(),
                lease,
                modified: 3,
                loss: Some(loss),
                found: None,
                given_up: Vec::new(),
            },
        );
        registration
    }

    fn keys(keys: &[&str]) -> HashSet<Bytes> {
        keys.iter()
            .map(|key| Bytes::from(key.to_string()))
            .collect()
    }

    #[test]
    fn a_lost_lease_takes_only_its_own() {
        let mut ledger = Ledger::default();
        let (a, b) = (enter(&mut ledger, "a", 1), enter(&mut ledger, "b", 2));
        assert_eq!(ledger.lease_lost(1), [Key::new("a").unwrap().into()]);
        assert_eq!(a.loss(), Some(Lost::LeaseExpired));
        assert_eq!(b.loss(), None);
        assert!(ledger.lease_lost(1).is_empty(), "a loss is said once");
    }

    #[test]
    fn what_hangs_on_a_lease_is_compared_with_what_should() {
        let mut ledger = Ledger::default();
        let _a = enter(&mut ledger, "a", 1);
        let _b = enter(&mut ledger, "b", 1);
        let _c = enter(&mut ledger, "c", 2);
        let on_lease = keys(&["a", "x"]);
        let mut held: Vec<_> = ledger.held_on(1).map(|(_, held)| &held.key).collect();
        held.sort();
        assert_eq!(held, ["a", "b"]);
        assert_eq!(ledger.strays(on_lease), [b"x".to_vec()]);
    }

    #[test]
    fn a_loss_that_was_said_is_not_looked_for_again_and_no_stray() {
        let mut ledger = Ledger::default();
        let _a = enter(&mut ledger, "a", 1);
        let service = Key::new("a").unwrap().into();
        ledger.get_mut(&service).unwrap().lose(Lost::KeyDeleted);
        assert!(ledger.held_on(1).next().is_none());
        assert!(ledger.strays(keys(&["a"])).is_empty());
    }

    fn found(lease: i64, modified: i64) -> Found {
        Found {
            value: Bytes::from("found"),
            lease,
            modified,
        }
    }

    /// Rows 37 and 38: ours is the same lease and the same modification.
    #[test]
    fn an_entry_is_ours_by_its_lease_and_its_modification() {
        let mut ledger = Ledger::default();
        let _a = enter(&mut ledger, "a", 1);
        let held = ledger.get(&Key::new("a").unwrap().into()).unwrap();
        let shared = Shared::default();
        shared.add_lease(8);
        shared.remove_lease(8);
        for (lease, modified, finding) in [
            (1, 3, Finding::Ours),
            (1, 4, Finding::Overwritten),
            // The lease on which it is to be put back.
            (2, 4, Finding::Overwritten),
            (1, 2, Finding::RolledBack),
            // A dead predecessor's.
            (9, 2, Finding::RolledBack),
            // Two histories have one number for two things.
            (9, 3, Finding::RolledBack),
            (9, 4, Finding::Taken),
            // A former one: the numbers are of another history.
            (8, 4, Finding::RolledBack),
            (0, 4, Finding::Taken),
        ] {
            let is = held.finding(&found(lease, modified), Some(2), &shared);
            assert_eq!(is, finding, "lease {lease}, modification {modified}");
        }
    }

    #[test]
    fn values_of_puts_that_were_given_up_are_bounded() {
        let mut ledger = Ledger::default();
        let _a = enter(&mut ledger, "a", 1);
        let held = ledger.get_mut(&Key::new("a").unwrap().into()).unwrap();
        for value in 0..100_u8 {
            held.put_given_up(Bytes::from(vec![value]));
        }
        assert_eq!(held.given_up.len(), MAX_GIVEN_UP);
        assert!(held.has_put(&Bytes::from(vec![99])) && !held.has_put(&Bytes::from(vec![1])));
    }
}
