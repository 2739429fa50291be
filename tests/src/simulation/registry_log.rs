//! Every value that each key of the registry has had, from the start on.

use sd_core::{Bytes, Change, Codec, DefaultCodec, Entry, Instance, Key, Prefix};
use sd_memory::Registry;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// A point in the registry's life: how often it was rebuilt, and its revision since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    life: u64,
    revision: u64,
}

/// What a key held from one change to the next.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) value: Option<Bytes>,
    /// The value understood; `None` also for what no codec can read.
    pub(super) instance: Option<Instance>,
    /// When it was read.
    pub(super) at: Instant,
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
}

impl RegistryLog {
    /// The log of a registry that is still empty.
    pub(super) fn new(registry: Registry) -> Self {
        let revision = registry.revision();
        Self {
            registry,
            read: Position { life: 0, revision },
            keys: BTreeMap::new(),
        }
    }

    /// Reads on, and gives what is new.
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

    /// Has the registry rebuilt empty.
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

    fn take(&mut self, change: Change) -> LoggedChange {
        let place = self.read;
        let (key, value) = (change.key().clone(), change.value().cloned());
        let instance = value.as_ref().and_then(|value| {
            let entry = Entry::new(key.clone(), value.clone());
            DefaultCodec.decode(&entry).ok()
        });
        self.keys.entry(key.clone()).or_default().push(Version {
            value: value.clone(),
            instance,
            at: Instant::now(),
        });
        LoggedChange { key, place, value }
    }

    /// Up to where it is read.
    pub(super) fn position(&self) -> Position {
        self.read
    }

    /// All that `key` ever held, the oldest first.
    pub(super) fn versions(&self, key: &Key) -> &[Version] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// What is there.
    pub(super) fn present(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        self.keys.iter().filter_map(|(key, versions)| {
            let value = versions.last()?.value.as_ref()?;
            Some((key, value))
        })
    }

    /// What is there under `prefix` and can be read.
    pub(super) fn instances<'a>(
        &'a self,
        prefix: &'a Prefix,
    ) -> impl Iterator<Item = &'a Instance> + 'a {
        let under = self.keys.iter().filter(|(key, _)| prefix.matches(key));
        under.filter_map(|(_, versions)| versions.last()?.instance.as_ref())
    }

    /// How many versions each key has under `prefix`: where a view that begins now begins.
    pub(super) fn floor(&self, prefix: &Prefix) -> BTreeMap<Key, usize> {
        let under = self.keys.iter().filter(|(key, _)| prefix.matches(key));
        under
            .map(|(key, versions)| (key.clone(), versions.len().saturating_sub(1)))
            .collect()
    }
}
