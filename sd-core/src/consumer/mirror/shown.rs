//! The instances that a mirror shows.

use super::{
    entry_decoder::EntryDecoder, loss_window::Loss, pending_removals::PendingRemovals,
    unreadable::UnreadableEntries,
};
use crate::{
    consumer::meters::InstanceMeters,
    instances::{Event, Instances, Status, Trouble},
    registry::{Change, Entry, Escaped, Key, Prefix},
};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// The instances as they are shown: the entries of the registry, decoded, and those whose removal
/// is held.
///
/// Methods that return a `bool` say whether what is shown has changed.
pub(super) struct ShownInstances {
    prefix: Prefix,
    decoder: EntryDecoder,
    instances: Instances,
    pub(super) removals: PendingRemovals,
    /// Removed by the changes that are being applied, and still shown. Whether they are held is
    /// decided when all these changes are known.
    leaving: BTreeSet<Key>,
    unreadable: UnreadableEntries,
    /// Entries of which only some attributes could not be read.
    strange: UnreadableEntries,
    skipped: u64,
    meters: InstanceMeters,
}

impl ShownInstances {
    /// Shows nothing yet.
    pub(super) fn new(prefix: Prefix, decoder: EntryDecoder, removals: PendingRemovals) -> Self {
        Self {
            meters: InstanceMeters::new(prefix.as_str()),
            prefix,
            decoder,
            instances: Instances::default(),
            removals,
            leaving: BTreeSet::new(),
            unreadable: UnreadableEntries::new(["entry skipped", "more entries skipped"]),
            strange: UnreadableEntries::new(["attribute ignored", "more attributes ignored"]),
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
        Event::new(version, self.instances.clone())
            .with_held_map(held.clone())
            .with_unreadable(self.unreadable.len())
    }

    /// The registry holds these entries and no others.
    pub(super) fn list(&mut self, mut entries: Vec<Entry>, now: Instant) -> bool {
        let listed = entries.len();
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let is_listed = |key: &Key| entries.binary_search_by(|e| e.key.cmp(key)).is_ok();
        let known = self.instances.iter().map(|instance| instance.key());
        let gone: Vec<Key> = known.filter(|key| !is_listed(key)).cloned().collect();
        let unreadable = self.unreadable.len();
        self.unreadable.retain(is_listed);
        self.strange.retain(is_listed);

        let mut changed = false;
        for key in gone {
            changed |= self.remove(&key, now);
        }
        for entry in entries {
            changed |= self.put(&entry, now);
        }
        changed |= self.settle(now) || self.unreadable.len() != unreadable;
        self.meters.listed();
        tracing::info!(
            prefix = %Escaped(&self.prefix),
            entries = listed,
            instances = self.instances.len(),
            "listed"
        );
        self.log_rest(now);
        changed
    }

    /// These changes happened, in this order.
    pub(super) fn apply(&mut self, changes: Vec<Change>, now: Instant) -> bool {
        let unreadable = self.unreadable.len();
        let mut changed = false;
        for change in changes {
            changed |= match change {
                Change::Put(entry) => self.put(&entry, now),
                Change::Delete(key) => {
                    self.forget(&key);
                    self.remove(&key, now)
                }
            };
        }
        changed |= self.settle(now);
        self.log_rest(now);
        changed || self.unreadable.len() != unreadable
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
            prefix = %Escaped(&self.prefix),
            removed = due.len(),
            held_for = ?held_for.max().unwrap_or_default(),
            "held removals applied: the registry has been healthy for the grace period"
        );
        true
    }

    /// There is trouble: removals of what is shown are doubted. If it is no more than a silence,
    /// `silent_since` says since when.
    pub(super) fn doubt(&mut self, why: &Trouble, silent_since: Option<Instant>, now: Instant) {
        self.removals.doubt(why, silent_since, &self.instances, now);
    }

    /// So many entries could not be read.
    pub(super) fn skip(&mut self, entries: u64) {
        self.skipped = self.skipped.saturating_add(entries);
        self.meters.skipped(entries);
    }

    fn put(&mut self, entry: &Entry, now: Instant) -> bool {
        let (instance, ignored) = match self.decoder.decode(entry) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.skip(1);
                self.unreadable.note(&self.prefix, entry, &error, now);
                self.strange.forget(&entry.key);
                return self.remove(&entry.key, now);
            }
        };
        self.unreadable.forget(&entry.key);
        match ignored {
            Some(error) => self.strange.note(&self.prefix, entry, &error, now),
            None => self.strange.forget(&entry.key),
        }
        self.leaving.remove(&entry.key);
        let was_held = self.removals.release(&entry.key, now);
        // An instance that has not changed keeps its allocation, so that diffs do not see it.
        let old = self.instances.get(&entry.key);
        let is_new = old.is_none_or(|old| **old != instance);
        if is_new {
            self.instances.insert(instance);
        }
        was_held || is_new
    }

    /// Removes the instance under `key`, or notes that it is leaving.
    fn remove(&mut self, key: &Key, now: Instant) -> bool {
        let Some(instance) = self.instances.get(key) else {
            return false;
        };
        if instance.status() == Status::Draining {
            self.removals.announced(key, now);
            self.instances.remove(key);
            return true;
        }
        if !self.removals.held().contains_key(key) {
            self.leaving.insert(key.clone());
        }
        false
    }

    /// Removes those that are leaving, or holds their removals.
    fn settle(&mut self, now: Instant) -> bool {
        let mut leaving = std::mem::take(&mut self.leaving);
        let held = self.removals.held().len();
        let left = self.instances.len() - held - leaving.len();
        let changed = !leaving.is_empty();
        let loss = self.removals.hold(&mut leaving, left, now);
        if self.removals.held().len() > held {
            self.log_held(loss);
        }
        for key in &leaving {
            self.instances.remove(key);
        }
        changed
    }

    fn forget(&mut self, key: &Key) {
        self.unreadable.forget(key);
        self.strange.forget(key);
    }

    fn log_rest(&mut self, now: Instant) {
        self.unreadable.log_rest(&self.prefix, now);
        self.strange.log_rest(&self.prefix, now);
    }

    fn log_held(&self, loss: Option<Loss>) {
        let grace = self.removals.grace();
        let held = self.removals.held().len();
        let Some(Loss { removed, of }) = loss else {
            tracing::warn!(
                prefix = %Escaped(&self.prefix),
                held,
                ?grace,
                "removals held back: they apply when the registry has been healthy for the grace period"
            );
            return;
        };
        self.meters.lost_many();
        tracing::warn!(
            prefix = %Escaped(&self.prefix),
            removed,
            of,
            held,
            ?grace,
            "many instances removed at once, held back: they go after the grace period unless they return"
        );
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
    pub(super) fn set_codec(&mut self, codec: impl crate::instances::Codec) {
        self.decoder.codec = std::sync::Arc::new(codec);
    }
}
