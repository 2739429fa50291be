//! The instances that a mirror shows.

use super::{pending_removals::PendingRemovals, unreadable::UnreadableEntries};
use crate::{
    consumer::meters::InstanceMeters,
    instances::{Codec, CodecError, Event, Instance, Instances},
    registry::{Change, Entry, Key, Prefix},
    support::catch,
};
use std::sync::Arc;
use tokio::time::Instant;

/// The instances as they are shown: the entries of the registry, decoded, and those whose removal
/// is held.
///
/// Methods that return a `bool` say whether what is shown has changed.
pub(super) struct ShownInstances {
    prefix: Prefix,
    codec: Arc<dyn Codec>,
    instances: Instances,
    pub(super) removals: PendingRemovals,
    unreadable: UnreadableEntries,
    skipped: u64,
    meters: InstanceMeters,
}

impl ShownInstances {
    /// Shows nothing yet.
    pub(super) fn new(prefix: Prefix, codec: Arc<dyn Codec>, removals: PendingRemovals) -> Self {
        Self {
            meters: InstanceMeters::new(prefix.as_str()),
            prefix,
            codec,
            instances: Instances::default(),
            removals,
            unreadable: UnreadableEntries::default(),
            skipped: 0,
        }
    }

    /// How many entries were left out so far because they could not be read.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// A live state of this version.
    pub(super) fn event(&mut self, version: u64) -> Event {
        let held = self.removals.held();
        self.meters.shows(self.instances.len(), held.len());
        Event::new(version, self.instances.clone()).with_held_map(held.clone())
    }

    /// The registry holds these entries and no others.
    pub(super) fn list(&mut self, mut entries: Vec<Entry>, now: Instant) -> bool {
        let listed = entries.len();
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let is_listed = |key: &Key| entries.binary_search_by(|e| e.key.cmp(key)).is_ok();
        let known = self.instances.iter().map(|instance| instance.key());
        let gone: Vec<Key> = known.filter(|key| !is_listed(key)).cloned().collect();
        self.unreadable.retain(is_listed);

        let held = self.removals.held().len();
        let mut changed = false;
        for key in gone {
            changed |= self.remove(&key, now);
        }
        for entry in entries {
            changed |= self.put(&entry, now);
        }
        self.meters.listed();
        tracing::info!(
            prefix = %self.prefix,
            entries = listed,
            instances = self.instances.len(),
            "listed"
        );
        self.log_held(held);
        changed
    }

    /// These changes happened, in this order.
    pub(super) fn apply(&mut self, changes: Vec<Change>, now: Instant) -> bool {
        let held = self.removals.held().len();
        let mut changed = false;
        for change in changes {
            changed |= match change {
                Change::Put(entry) => self.put(&entry, now),
                Change::Delete(key) => {
                    self.unreadable.forget(&key);
                    self.remove(&key, now)
                }
            };
        }
        self.log_held(held);
        changed
    }

    /// Applies the held removals that are due.
    pub(super) fn apply_due(&mut self, now: Instant) -> bool {
        let due = self.removals.take_due(now);
        if due.is_empty() {
            return false;
        }
        for key in due.keys() {
            self.instances.remove(key);
        }
        let held_for = due
            .values()
            .map(|it| now.saturating_duration_since(it.since));
        tracing::warn!(
            prefix = %self.prefix,
            removed = due.len(),
            held_for = ?held_for.max().unwrap_or_default(),
            "held removals applied: the registry has been healthy for the grace period"
        );
        true
    }

    /// So many entries could not be read.
    pub(super) fn skip(&mut self, entries: u64) {
        self.skipped = self.skipped.saturating_add(entries);
        self.meters.skipped(entries);
    }

    fn put(&mut self, entry: &Entry, now: Instant) -> bool {
        let instance = match self.decode(entry) {
            Ok(instance) => instance,
            Err(error) => {
                self.skip(1);
                self.unreadable.note(&self.prefix, entry, &error);
                return self.remove(&entry.key, now);
            }
        };
        self.unreadable.forget(&entry.key);
        let was_held = self.removals.release(&entry.key);
        // An instance that has not changed keeps its allocation, so that diffs do not see it.
        let old = self.instances.get(&entry.key);
        let is_new = old.is_none_or(|old| **old != instance);
        if is_new {
            self.instances.insert(instance);
        }
        was_held || is_new
    }

    /// Decodes `entry`. A codec that panics could not read it.
    fn decode(&self, entry: &Entry) -> Result<Instance, CodecError> {
        let instance = catch(|| self.codec.decode(entry))
            .unwrap_or_else(|panicked| Err(CodecError::new(format!("the codec {panicked}"))))?;
        // An instance under another key would never be removed again.
        if *instance.key() != entry.key {
            return Err(CodecError::new("the codec gave the instance another key"));
        }
        Ok(instance)
    }

    /// Removes the instance under `key`, or holds the removal.
    fn remove(&mut self, key: &Key, now: Instant) -> bool {
        let Some(instance) = self.instances.get(key) else {
            return false;
        };
        if self.removals.held().contains_key(key) {
            return false;
        }
        if !self.removals.hold(instance, now) {
            self.instances.remove(key);
        }
        true
    }

    fn log_held(&self, before: usize) {
        let held = self.removals.held().len();
        if held > before {
            tracing::warn!(
                prefix = %self.prefix,
                held,
                grace = ?self.removals.grace(),
                "removals held back: they apply when the registry has been healthy for the grace period"
            );
        }
    }

    #[cfg(test)]
    pub(super) fn instances(&self) -> &Instances {
        &self.instances
    }

    #[cfg(test)]
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    #[cfg(test)]
    pub(super) fn set_codec(&mut self, codec: impl Codec) {
        self.codec = Arc::new(codec);
    }
}
