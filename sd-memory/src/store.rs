//! The store of a registry: entries, leases, and their history. No I/O; the time is passed in.

use crate::history::History;
use sd_core::{Bytes, Change, Entry, Key, LeaseId, Prefix};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    ops::Bound,
    time::Duration,
};
use tokio::time::Instant;

/// The first id of a lease. It has 19 digits, like etcd's. A registry counts from here, also after
/// it was rebuilt, so that the same calls lead to the same ids.
const FIRST_LEASE: i64 = 7_587_849_142_468_224_212;

/// An entry as the registry holds it, for assertions; see [`Registry::get`](crate::Registry::get).
///
/// `Debug` shows how long the value is, and not the value.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The value.
    pub value: Bytes,
    /// The revision at which the key was created.
    pub created: u64,
    /// The revision of its last put.
    pub modified: u64,
    /// The number of puts since the key was created.
    pub version: u64,
    /// The lease of the entry.
    pub lease: Option<LeaseId>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("created", &self.created)
            .field("modified", &self.modified)
            .field("version", &self.version)
            .field("lease", &self.lease)
            .finish()
    }
}

/// A lease as the registry holds it, for assertions; see
/// [`Registry::lease`](crate::Registry::lease).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// How long the lease lives after a keep-alive.
    pub ttl: Duration,
    /// When the lease expires, unless it is kept alive.
    pub expires: Instant,
    /// The keys on the lease.
    pub keys: BTreeSet<Key>,
}

/// Entries and leases, with etcd's revisions: each write, transaction or end of a lease that
/// changes anything is one revision.
#[derive(Debug)]
pub(crate) struct Store {
    entries: BTreeMap<Key, Stored>,
    leases: HashMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
    next_lease: i64,
    history: History,
}

/// What a store holds at one moment, without its history.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    entries: BTreeMap<Key, Stored>,
    leases: HashMap<LeaseId, Lease>,
    pub(crate) revision: u64,
}

impl Store {
    /// An empty store that keeps `history`.
    pub(crate) fn new(history: History) -> Self {
        Self {
            entries: BTreeMap::new(),
            leases: HashMap::new(),
            deadlines: BTreeSet::new(),
            next_lease: FIRST_LEASE,
            history,
        }
    }

    /// An empty store with a new history, to replace this one.
    pub(crate) fn rebuilt(&self) -> Self {
        Self {
            next_lease: self.next_lease,
            ..Self::new(History::new(self.history.capacity()))
        }
    }

    /// What the store holds, without its history.
    pub(crate) fn contents(&self) -> Contents {
        Contents {
            entries: self.entries.clone(),
            leases: self.leases.clone(),
            revision: self.history.revision(),
        }
    }

    /// A store in the place of this one that holds `contents`, each lease with its whole TTL. Its history begins there, or where this one's ends.
    pub(crate) fn restored(&self, contents: &Contents, is_bumped: bool, now: Instant) -> Self {
        let mut store = Self {
            entries: contents.entries.clone(),
            leases: contents.leases.clone(),
            deadlines: BTreeSet::new(),
            next_lease: self.next_lease,
            history: self.history.restored(contents.revision, is_bumped),
        };
        store.renew_all(now);
        store
    }

    /// What changed.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// See [`History::compact`].
    pub(crate) fn compact(&mut self) {
        self.history.compact();
    }

    /// The entry under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Stored> {
        self.entries.get(key)
    }

    /// All entries, in the order of their keys.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().map(entry)
    }

    /// All entries under `prefix`, in the order of their keys.
    pub(crate) fn under<'a>(&'a self, prefix: &'a Prefix) -> impl Iterator<Item = Entry> + 'a {
        self.entries
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(|(key, _)| prefix.matches(key))
            .map(entry)
    }

    /// Puts `value` under `key`, on `lease` if it exists, and returns the revision.
    pub(crate) fn put(&mut self, key: Key, value: Bytes, lease: Option<&LeaseId>) -> u64 {
        let modified = self.history.revision() + 1;
        let lease = self.place(&key, value.clone(), lease, modified);
        let entry = Entry::new(key, value).with_lease(lease);
        self.history.record(vec![Change::Put(entry)])
    }

    /// Deletes `key` and returns the revision, or `None` if there is no such key.
    pub(crate) fn delete(&mut self, key: &Key) -> Option<u64> {
        self.take(key)?;
        Some(self.history.record(vec![Change::Delete(key.clone())]))
    }

    /// Applies all of `changes` at one revision and returns it. Ignores deletes of absent keys; of
    /// several changes of one key the last counts. `None` if nothing changed.
    pub(crate) fn transact(&mut self, changes: Vec<Change>) -> Option<u64> {
        let last: HashMap<Key, usize> = (0..)
            .zip(&changes)
            .map(|(i, c)| (c.key().clone(), i))
            .collect();
        let modified = self.history.revision() + 1;
        let mut done = Vec::with_capacity(last.len());
        for (i, change) in changes.into_iter().enumerate() {
            if last.get(change.key()) != Some(&i) {
                continue;
            }
            match change {
                Change::Put(mut entry) => {
                    let Entry {
                        key, value, lease, ..
                    } = &mut entry;
                    *lease = self.place(key, value.clone(), lease.as_ref(), modified);
                    done.push(Change::Put(entry));
                }
                Change::Delete(key) => {
                    done.extend(self.take(&key).map(|_| Change::Delete(key)));
                }
                _ => {}
            }
        }
        (!done.is_empty()).then(|| self.history.record(done))
    }

    /// Grants a lease.
    pub(crate) fn grant(&mut self, ttl: Duration, now: Instant) -> LeaseId {
        let id = LeaseId::from(self.next_lease);
        self.next_lease += 1;
        let lease = Lease {
            ttl,
            expires: now + ttl,
            keys: BTreeSet::new(),
        };
        self.deadlines.insert((lease.expires, id.clone()));
        self.leases.insert(id.clone(), lease);
        id
    }

    /// Gives the lease its full TTL again. `false` if there is no such lease.
    pub(crate) fn keep_alive(&mut self, id: &LeaseId, now: Instant) -> bool {
        let Some(lease) = self.leases.get_mut(id) else {
            return false;
        };
        self.deadlines.remove(&(lease.expires, id.clone()));
        lease.expires = now + lease.ttl;
        self.deadlines.insert((lease.expires, id.clone()));
        true
    }

    /// Ends the lease and removes its keys, at one revision. `false` if there is no such lease.
    pub(crate) fn revoke(&mut self, id: &LeaseId) -> bool {
        let Some(lease) = self.leases.remove(id) else {
            return false;
        };
        self.deadlines.remove(&(lease.expires, id.clone()));
        for key in &lease.keys {
            self.entries.remove(key);
        }
        if !lease.keys.is_empty() {
            self.history
                .record(lease.keys.into_iter().map(Change::Delete).collect());
        }
        true
    }

    /// Ends the expired leases and returns them.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<LeaseId> {
        let mut ended = Vec::new();
        while let Some((deadline, id)) = self.deadlines.first() {
            if *deadline > now {
                break;
            }
            let id = id.clone();
            self.revoke(&id);
            ended.push(id);
        }
        ended
    }

    /// Gives every lease its full TTL again, like a restarted etcd.
    pub(crate) fn renew_all(&mut self, now: Instant) {
        let ids: Vec<_> = self.leases.keys().cloned().collect();
        for id in &ids {
            self.keep_alive(id, now);
        }
    }

    /// When the next lease expires, unless it is kept alive.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The lease `id`.
    pub(crate) fn lease(&self, id: &LeaseId) -> Option<&Lease> {
        self.leases.get(id)
    }

    /// All leases.
    pub(crate) fn leases(&self) -> impl ExactSizeIterator<Item = &LeaseId> {
        self.leases.keys()
    }

    /// Returns the lease that the entry is on.
    fn place(
        &mut self,
        key: &Key,
        value: Bytes,
        lease: Option<&LeaseId>,
        modified: u64,
    ) -> Option<LeaseId> {
        let old = self.take(key);
        let lease = lease.filter(|id| match self.leases.get_mut(id) {
            Some(lease) => lease.keys.insert(key.clone()),
            None => false,
        });
        let stored = Stored {
            value,
            created: old.as_ref().map_or(modified, |old| old.created),
            modified,
            version: old.map_or(1, |old| old.version + 1),
            lease: lease.cloned(),
        };
        self.entries.insert(key.clone(), stored);
        lease.cloned()
    }

    /// Removes the entry, also from its lease.
    fn take(&mut self, key: &Key) -> Option<Stored> {
        let stored = self.entries.remove(key)?;
        if let Some(lease) = stored.lease.as_ref().and_then(|id| self.leases.get_mut(id)) {
            lease.keys.remove(key);
        }
        Some(stored)
    }
}

fn entry((key, stored): (&Key, &Stored)) -> Entry {
    Entry::new(key.clone(), stored.value.clone()).with_lease(stored.lease.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn store() -> Store {
        Store::new(History::new(100))
    }

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn keys(store: &Store) -> Vec<String> {
        store.entries().map(|e| e.key.to_string()).collect()
    }

    #[test]
    fn revisions_count_as_etcds_do() {
        let mut store = store();
        let now = Instant::now();
        assert_eq!(store.history().revision(), 1);
        assert_eq!(store.put(key("a"), "1".into(), None), 2);
        assert_eq!(store.put(key("a"), "2".into(), None), 3);
        assert_eq!(store.delete(&key("absent")), None);
        let lease = store.grant(TTL, now);
        assert!(store.revoke(&lease));
        assert_eq!(store.history().revision(), 3);
        let a = store.get("a").unwrap();
        assert_eq!((a.created, a.modified, a.version), (2, 3, 2));
        assert_eq!(store.delete(&key("a")), Some(4));
        assert_eq!(store.put(key("a"), "3".into(), None), 5);
        assert_eq!(store.get("a").unwrap().created, 5);
    }

    #[test]
    fn a_transaction_is_one_revision() {
        let mut store = store();
        store.put(key("a"), "1".into(), None);
        let put = |value: &'static str| Change::Put(Entry::new(key("b"), value));
        let done = store.transact(vec![
            put("1"),
            Change::Delete(key("a")),
            Change::Delete(key("absent")),
            put("2"),
        ]);
        assert_eq!(done, Some(3));
        assert_eq!(store.get("b").unwrap().value, "2");
        let record: Vec<_> = store.history().after(2).unwrap().collect();
        assert_eq!(record, [&vec![Change::Delete(key("a")), put("2")]]);
        assert_eq!(store.transact(vec![Change::Delete(key("a"))]), None);
    }

    #[test]
    fn a_transaction_puts_entries_on_their_leases() {
        let mut store = store();
        let lease = store.grant(TTL, Instant::now());
        let on = |name, lease: LeaseId| Entry::new(key(name), "1").with_lease(lease);
        let puts = [on("a", lease.clone()), on("b", LeaseId::new("gone"))].map(Change::Put);
        store.transact(puts.into());
        let leases = store.entries().map(|entry| entry.lease);
        assert_eq!(leases.collect::<Vec<_>>(), [Some(lease.clone()), None]);
        assert!(store.revoke(&lease));
        assert_eq!(keys(&store), ["b"]);
    }

    #[test]
    fn keys_on_one_lease_die_in_one_revision() {
        let mut store = store();
        let now = Instant::now();
        let lease = store.grant(TTL, now);
        store.put(key("a"), "1".into(), Some(&lease));
        store.put(key("b"), "1".into(), Some(&lease));
        assert!(store.expire(now + TTL / 2).is_empty());
        assert_eq!(store.expire(now + TTL), [lease]);
        assert_eq!(store.history().revision(), 4);
        assert!(keys(&store).is_empty());
        assert_eq!(store.next_expiry(), None);
    }

    #[test]
    fn a_key_that_moved_to_another_lease_outlives_its_old_one() {
        let mut store = store();
        let now = Instant::now();
        let (old, new) = (store.grant(TTL, now), store.grant(TTL, now));
        store.put(key("a"), "old".into(), Some(&old));
        store.put(key("a"), "new".into(), Some(&new));
        store.revoke(&old);
        assert_eq!(store.get("a").unwrap().value, "new");
        store.put(key("a"), "foreign".into(), None);
        store.revoke(&new);
        assert_eq!(keys(&store), ["a"]);
    }

    #[test]
    fn a_keep_alive_moves_the_deadline() {
        let mut store = store();
        let now = Instant::now();
        let lease = store.grant(TTL, now);
        assert!(store.keep_alive(&lease, now + TTL / 2));
        assert!(store.expire(now + TTL).is_empty());
        assert_eq!(store.next_expiry(), Some(now + TTL / 2 + TTL));
        assert!(!store.keep_alive(&LeaseId::new("gone"), now));
    }

    #[test]
    fn a_prefix_sees_its_own_and_no_more() {
        let mut store = store();
        for text in [
            "/svc/foo/a",
            "/svc/foobar/a",
            "/svc/foo",
            "/svc/foo/b",
            "/svc/g",
        ] {
            store.put(key(text), "".into(), None);
        }
        let prefix = Prefix::new("/svc/foo").unwrap();
        let found: Vec<_> = store.under(&prefix).map(|e| e.key.to_string()).collect();
        assert_eq!(found, ["/svc/foo/a", "/svc/foo/b"]);
    }
}
