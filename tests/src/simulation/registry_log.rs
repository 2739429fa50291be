//! The log of the registry: every value that each key has had.

use sd_core::{Bytes, Change, Codec, DefaultCodec, Entry, Instance, Key, LeaseId, Prefix};
use sd_memory::{Backup, Registry};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// A point in the log: how often the registry was rebuilt, and its revision since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    life: u64,
    revision: u64,
}

/// The value of a key from one change to the next.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) value: Option<Bytes>,
    lease: Option<LeaseId>,
    /// When it was read, which is soon after it came to be.
    pub(super) since: Instant,
    /// The value understood; `None` also for what no codec can read.
    pub(super) instance: Option<Instance>,
}

/// A change that was just read from the registry.
pub(super) struct LoggedChange {
    pub(super) key: Key,
    pub(super) place: Position,
    pub(super) value: Option<Bytes>,
}

/// The versions of each key, read from the registry as it changes.
pub(super) struct RegistryLog {
    registry: Registry,
    read: Position,
    keys: BTreeMap<Key, Vec<Version>>,
    /// The keys that hold what a restore has brought back.
    restored: BTreeSet<Key>,
}

impl RegistryLog {
    /// The log of a registry that is still empty.
    pub(super) fn new(registry: Registry) -> Self {
        let revision = registry.revision();
        Self {
            registry,
            read: Position { life: 0, revision },
            keys: BTreeMap::new(),
            restored: BTreeSet::new(),
        }
    }

    /// Reads the registry's new changes, and returns them.
    pub(super) fn catch_up(&mut self) -> Vec<LoggedChange> {
        let mut changes = Vec::new();
        if self.registry.revision() == self.read.revision {
            return changes;
        }
        let revisions = self.registry.changes_after(self.read.revision);
        for changes_of_one in revisions.expect("the log is read often enough") {
            self.read.revision += 1;
            for change in changes_of_one {
                changes.push(self.take(change));
            }
        }
        changes
    }

    /// Rebuilds the registry empty, and returns the changes.
    pub(super) fn rebuild(&mut self) -> Vec<LoggedChange> {
        let mut changes = self.catch_up();
        self.registry.rebuild_empty();
        self.read = Position {
            life: self.read.life + 1,
            revision: self.registry.revision(),
        };
        let gone: Vec<Key> = self.present().map(|(key, _)| key.clone()).collect();
        changes.extend(gone.into_iter().map(|key| self.take(Change::Delete(key))));
        changes
    }

    /// Has the registry restored. Gives what was new before, and what is different since.
    pub(super) fn restore(
        &mut self,
        backup: &Backup,
        bump: bool,
    ) -> (Vec<LoggedChange>, Vec<LoggedChange>) {
        let before = self.catch_up();
        match bump {
            true => self.registry.restore_bumped(backup),
            false => self.registry.restore(backup),
        }
        self.read = Position {
            life: self.read.life + 1,
            revision: self.registry.revision(),
        };
        let there = self.registry.entries();
        let gone: Vec<Key> = self
            .present()
            .map(|(key, _)| key)
            .filter(|key| there.iter().all(|entry| entry.key != **key))
            .cloned()
            .collect();
        let mut changes: Vec<_> = gone
            .into_iter()
            .map(|key| self.take(Change::Delete(key)))
            .collect();
        let restored = there.iter().map(|entry| entry.key.clone()).collect();
        for entry in there {
            let known = self.versions(&entry.key).last();
            let has_value = known.is_some_and(|it| it.value.as_ref() == Some(&entry.value));
            let has_lease = known.is_some_and(|it| it.lease == entry.lease);
            if !(has_value && has_lease) {
                let change = self.take(Change::Put(entry));
                changes.extend((!has_value).then_some(change));
            }
        }
        self.restored = restored;
        (before, changes)
    }

    /// Whether a restore has brought back what `key` holds.
    pub(super) fn is_restored(&self, key: &Key) -> bool {
        self.restored.contains(key)
    }

    fn take(&mut self, change: Change) -> LoggedChange {
        self.restored.remove(change.key());
        let place = self.read;
        let (key, value) = (change.key().clone(), change.value().cloned());
        let lease = match &change {
            Change::Put(entry) => entry.lease.clone(),
            _ => None,
        };
        let instance = value.as_ref().and_then(|value| {
            let entry = Entry::new(key.clone(), value.clone());
            let instance = DefaultCodec.decode(&entry).ok()?.into_iter().next()?;
            Some(instance.with_lease(lease.clone()))
        });
        self.keys.entry(key.clone()).or_default().push(Version {
            value: value.clone(),
            lease,
            since: Instant::now(),
            instance,
        });
        LoggedChange { key, place, value }
    }

    /// The position up to which the registry was read.
    pub(super) fn position(&self) -> Position {
        self.read
    }

    /// All versions of `key`, the oldest first.
    pub(super) fn versions<K: AsRef<str> + ?Sized>(&self, key: &K) -> &[Version] {
        self.keys.get(key.as_ref()).map_or(&[], Vec::as_slice)
    }

    /// The current entries.
    pub(super) fn present(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        self.keys.iter().filter_map(|(key, versions)| {
            let value = versions.last()?.value.as_ref()?;
            Some((key, value))
        })
    }

    /// The current instances under `prefix`.
    pub(super) fn instances<'a>(
        &'a self,
        prefix: &'a Prefix,
    ) -> impl Iterator<Item = &'a Instance> + 'a {
        let under = self.keys.iter().filter(|(key, _)| prefix.matches(key));
        under.filter_map(|(_, versions)| versions.last()?.instance.as_ref())
    }

    /// The number of versions of each key under `prefix`. A view that begins now begins there.
    pub(super) fn floor(&self, prefix: &Prefix) -> BTreeMap<Key, usize> {
        let under = self.keys.iter().filter(|(key, _)| prefix.matches(key));
        under
            .map(|(key, versions)| (key.clone(), versions.len().saturating_sub(1)))
            .collect()
    }
}
