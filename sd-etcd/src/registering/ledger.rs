//! The registrations that a session holds. Pure bookkeeping.

use super::write::Guard;
use bytes::Bytes;
use sd_core::{LossSender, Lost, ServiceKey};
use std::collections::{HashMap, HashSet};

/// A registration that somebody has a handle of.
pub(super) struct Held {
    /// The id of the registration. A later one of the same service has another.
    pub(super) id: u64,
    pub(super) key: Vec<u8>,
    pub(super) value: Bytes,
    pub(super) lease: i64,
    /// The revision of our last write.
    pub(super) modified: i64,
    /// Tells the handle that the registration is lost. `None` after that.
    pub(super) loss: Option<LossSender>,
}

impl Held {
    pub(super) fn guard(&self) -> Guard {
        let (lease, modified) = (self.lease, self.modified);
        match self.is_lost() {
            true => Guard::Absent,
            false => Guard::Stands { lease, modified },
        }
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
    registrations: HashMap<ServiceKey, Held>,
}

impl Ledger {
    pub(super) fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }

    pub(super) fn get(&self, service: &ServiceKey) -> Option<&Held> {
        self.registrations.get(service)
    }

    pub(super) fn get_mut(&mut self, service: &ServiceKey) -> Option<&mut Held> {
        self.registrations.get_mut(service)
    }

    /// Enters a registration. Returns the one that it replaces.
    pub(super) fn enter(&mut self, service: ServiceKey, held: Held) -> Option<Held> {
        self.registrations.insert(service, held)
    }

    pub(super) fn remove(&mut self, service: &ServiceKey) -> Option<Held> {
        self.registrations.remove(service)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Held> {
        self.registrations.drain().map(|(_, held)| held)
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

    /// Returns the held registrations on `lease` that are not among `keys`, its keys at etcd.
    pub(super) fn missing(&self, lease: i64, keys: &HashSet<Vec<u8>>) -> Vec<Missing> {
        self.registrations
            .iter()
            .filter(|(_, held)| held.lease == lease && !held.is_lost())
            .filter(|(_, held)| !keys.contains(&held.key))
            .map(|(service, held)| Missing {
                service: service.clone(),
                id: held.id,
                key: held.key.clone(),
            })
            .collect()
    }

    /// Returns those of `keys`, the keys of a lease at etcd, that no registration has: puts that were
    /// given up and took effect all the same.
    pub(super) fn strays(&self, keys: &HashSet<Vec<u8>>) -> Vec<Vec<u8>> {
        let known: HashSet<&[u8]> = self
            .registrations
            .values()
            .map(|it| it.key.as_slice())
            .collect();
        let strays = keys.iter().filter(|key| !known.contains(key.as_slice()));
        strays.cloned().collect()
    }
}

/// A registration whose key etcd does not list on its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) service: ServiceKey,
    pub(super) id: u64,
    pub(super) key: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::{Key, LeaseId, NoReclaim, Registration};

    fn enter(ledger: &mut Ledger, name: &str, lease: i64) -> Registration {
        let key = Key::new(name).unwrap();
        let (loss, registration) =
            Registration::channel(key.clone(), LeaseId::from(lease), NoReclaim);
        ledger.enter(
            key.into(),
            Held {
                id: 1,
                key: name.into(),
                value: Bytes::new(),
                lease,
                modified: 1,
                loss: Some(loss),
            },
        );
        registration
    }

    fn keys(keys: &[&str]) -> HashSet<Vec<u8>> {
        keys.iter().map(|key| key.as_bytes().to_vec()).collect()
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
        let missing = ledger.missing(1, &on_lease);
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].key, b"b");
        assert_eq!(ledger.strays(&on_lease), [b"x".to_vec()]);
    }

    #[test]
    fn a_loss_that_was_said_is_not_missing_again_and_no_stray() {
        let mut ledger = Ledger::default();
        let _a = enter(&mut ledger, "a", 1);
        let service = Key::new("a").unwrap().into();
        ledger.get_mut(&service).unwrap().lose(Lost::KeyDeleted);
        assert!(ledger.missing(1, &keys(&[])).is_empty());
        assert!(ledger.strays(&keys(&["a"])).is_empty());
    }
}
