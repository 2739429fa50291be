//! The ledger: which services a session holds, on which lease, and what it owes etcd.
//!
//! Pure bookkeeping; the session does the talking.

use crate::txn::Guard;
use bytes::Bytes;
use sd_core::{LossSender, Lost, ServiceKey};
use std::collections::{HashMap, HashSet};

/// A service that somebody has a handle of.
pub(crate) struct Entry {
    /// Which registration it is; a later one of the same service has another.
    pub(crate) id: u64,
    /// The key in full, as etcd knows it.
    pub(crate) key: Vec<u8>,
    pub(crate) value: Bytes,
    pub(crate) lease: i64,
    /// The revision of our last write.
    pub(crate) modified: i64,
    /// How to say that it is lost; gone once that was said.
    pub(crate) loss: Option<LossSender>,
}

impl Entry {
    /// What stands under its key, as far as we know.
    pub(crate) fn guard(&self) -> Guard {
        match self.loss {
            None => Guard::Absent,
            Some(_) => Guard::Stands {
                lease: self.lease,
                modified: self.modified,
            },
        }
    }

    /// Says that the registration is lost, if that was not said before.
    pub(crate) fn lose(&mut self, why: Lost) {
        if let Some(loss) = self.loss.take() {
            loss.send(why);
        }
    }
}

#[derive(Default)]
pub(crate) struct Ledger {
    entries: HashMap<ServiceKey, Entry>,
}

impl Ledger {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn get(&self, service: &ServiceKey) -> Option<&Entry> {
        self.entries.get(service)
    }

    pub(crate) fn get_mut(&mut self, service: &ServiceKey) -> Option<&mut Entry> {
        self.entries.get_mut(service)
    }

    /// Enters a registration; gives back the one in whose place it is.
    pub(crate) fn enter(&mut self, service: ServiceKey, entry: Entry) -> Option<Entry> {
        self.entries.insert(service, entry)
    }

    pub(crate) fn remove(&mut self, service: &ServiceKey) -> Option<Entry> {
        self.entries.remove(service)
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.entries.drain().map(|(_, entry)| entry)
    }

    /// `lease` is gone; gives back whose registrations went with it.
    pub(crate) fn lease_lost(&mut self, lease: i64) -> Vec<ServiceKey> {
        let mut lost = Vec::new();
        for (service, entry) in &mut self.entries {
            if entry.lease == lease && entry.loss.is_some() {
                entry.lose(Lost::LeaseExpired);
                lost.push(service.clone());
            }
        }
        lost
    }

    /// The held registrations that are not among `keys`, which is all that hangs on `lease`.
    pub(crate) fn missing(&self, lease: i64, keys: &HashSet<Vec<u8>>) -> Vec<Missing> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.lease == lease && entry.loss.is_some())
            .filter(|(_, entry)| !keys.contains(&entry.key))
            .map(|(service, entry)| Missing {
                service: service.clone(),
                id: entry.id,
                key: entry.key.clone(),
            })
            .collect()
    }

    /// Those of `keys`, which is all that hangs on one of our leases, that nobody here knows:
    /// puts that were given up and took effect all the same.
    pub(crate) fn strays(&self, keys: &HashSet<Vec<u8>>) -> Vec<Vec<u8>> {
        let known: HashSet<&[u8]> = self
            .entries
            .values()
            .map(|entry| entry.key.as_slice())
            .collect();
        keys.iter()
            .filter(|key| !known.contains(key.as_slice()))
            .cloned()
            .collect()
    }
}

/// A registration that is not where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) service: ServiceKey,
    pub(crate) id: u64,
    pub(crate) key: Vec<u8>,
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
            Entry {
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
