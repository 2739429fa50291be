//! The instances that a mirror shows.

use super::{
    entry_decoder::EntryDecoder,
    loss_window::Loss,
    pending_removals::PendingRemovals,
    unreadable::{EntryLog, UnreadableEntries},
};
use crate::{
    consumer::{meters::InstanceMeters, prefix_limits::PrefixLimits},
    instances::{Decoded, Event, Held, Instance, InstanceKey, Instances, Status, Trouble},
    registry::{Change, Entry, Escaped, Key, Prefix},
    support::LineQuota,
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::time::Instant;

/// The part of the limit, in bytes, that changes from one event to the next where there are many changes.
const NEWS: usize = 16;

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
    leaving: BTreeSet<InstanceKey>,
    unreadable: UnreadableEntries,
    /// Entries of which only some attributes could not be read.
    strange: UnreadableEntries,
    log: EntryLog,
    limits: PrefixLimits,
    /// What the instances take in memory.
    bytes: usize,
    /// What was put since the last event, in memory.
    news: usize,
    /// How many entries of the last list, and how many later ones, did not fit.
    left_out: u64,
    /// Whether something went since, shrank, or may have taken the place of what did not fit.
    has_room: bool,
    skipped: u64,
    meters: InstanceMeters,
}

impl ShownInstances {
    /// Shows nothing yet.
    pub(super) fn new(
        prefix: Prefix,
        decoder: EntryDecoder,
        removals: PendingRemovals,
        limits: PrefixLimits,
        lines: LineQuota,
    ) -> Self {
        Self {
            meters: InstanceMeters::new(prefix.as_str()),
            prefix,
            decoder,
            instances: Instances::default(),
            removals,
            leaving: BTreeSet::new(),
            unreadable: UnreadableEntries::new(["entry skipped", "more entries skipped"]),
            strange: UnreadableEntries::new(["attribute ignored", "more attributes ignored"]),
            log: EntryLog::new(lines),
            limits,
            bytes: 0,
            news: 0,
            left_out: 0,
            has_room: false,
            skipped: 0,
        }
    }

    /// How many entries were left out so far because they could not be read.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// A live state of this version.
    pub(super) fn event(&mut self, version: u64) -> Event {
        self.news = 0;
        let held = self.removals.held();
        self.meters
            .shows(self.instances.len(), self.bytes, held.len());
        Event::new(version, self.instances.clone())
            .with_held_map(held.clone())
            .with_unreadable(self.unreadable.len())
    }

    /// A predecessor showed these. Leaves out what would not be shown if it were read from the registry.
    #[cfg(feature = "snapshot")]
    pub(super) fn restore(&mut self, instances: Vec<Instance>) {
        for instance in instances {
            if self.decoder.check(&instance).is_ok() {
                self.insert(instance);
            }
        }
    }

    /// The registry holds these entries and no others.
    pub(super) fn list(&mut self, mut entries: Vec<Entry>, now: Instant) -> bool {
        let listed = entries.len();
        if !entries.is_sorted_by(|a, b| a.key < b.key) {
            entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            entries.dedup_by(|a, b| a.key == b.key);
        }
        let is_listed = |key: &Key| entries.binary_search_by(|e| e.key.cmp(key)).is_ok();
        let known = self.instances.iter();
        let gone = known.filter(|instance| !is_listed(instance.key()));
        let gone: Vec<InstanceKey> = gone.map(|instance| instance.identity()).collect();
        let unreadable = self.unreadable.len();
        let keys = || entries.iter().map(|entry| &entry.key);
        self.unreadable.retain(keys());
        self.strange.retain(keys());
        (self.left_out, self.has_room) = (0, false);

        let mut changed = false;
        if self.instances.is_empty() {
            changed |= self.fill(entries, now);
        } else {
            for identity in gone {
                changed |= self.remove(identity, now);
            }
            for entry in entries {
                changed |= self.put(&entry, now);
            }
        }
        changed |= self.settle(now) || self.unreadable.len() != unreadable;
        self.meters.listed();
        self.log_list(listed, now);
        self.log_rest(now);
        changed
    }

    /// Shows `entries`, of which no two have one key, where nothing is shown yet: a set is built at once for
    /// less than it grows.
    fn fill(&mut self, entries: Vec<Entry>, now: Instant) -> bool {
        let mut shown = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(decoded) = self.read(&entry, now) else {
                continue;
            };
            for instance in decoded {
                if !self.removals.is_empty() {
                    self.removals.release(&instance.identity(), now);
                }
                match self.has_room_for(instance.memory(), None, shown.len()) {
                    true => shown.push(Arc::new(instance)),
                    false => self.leave_out(),
                }
            }
        }
        self.instances = shown.into_iter().collect();
        !self.instances.is_empty()
    }

    /// These changes happened, in this order.
    pub(super) fn apply(&mut self, changes: Vec<Change>, now: Instant) -> bool {
        let unreadable = self.unreadable.len();
        let mut changed = false;
        for change in changes {
            changed |= match change {
                Change::Put(entry) => {
                    let left_out = self.left_out;
                    let changed = self.put(&entry, now);
                    self.has_room |= self.left_out == left_out;
                    changed
                }
                Change::Delete(key) => {
                    self.forget(&key);
                    let gone = self.under(&key);
                    self.has_room |= gone.is_empty();
                    gone.into_iter()
                        .fold(false, |changed, it| changed | self.remove(it, now))
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
            self.take(key);
        }
        if !self.log.allows_removals(now) {
            return true;
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
        let Some(decoded) = self.read(entry, now) else {
            let unreadable = self.under(&entry.key).into_iter();
            return unreadable.fold(false, |changed, it| changed | self.lose(it, now));
        };
        let mut changed = false;
        for identity in self.under(&entry.key) {
            let mut instances = decoded.instances().iter();
            if instances.all(|instance| instance.identity() != identity) {
                changed |= self.remove(identity, now);
            }
        }
        decoded
            .into_iter()
            .fold(changed, |changed, it| changed | self.show(it, now))
    }

    /// What `entry` describes. `None` if it could not be read, which is noted.
    fn read(&mut self, entry: &Entry, now: Instant) -> Option<Decoded> {
        if !self.decoder.is_small(entry) {
            self.meters.over_limit("entry");
        }
        let decoded = match self.decoder.decode(entry) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.skip(1);
                self.unreadable
                    .note(&self.prefix, entry, &error, &mut self.log, now);
                self.strange.forget(&entry.key);
                return None;
            }
        };
        self.unreadable.forget(&entry.key);
        match decoded.ignored() {
            Some(error) => self
                .strange
                .note(&self.prefix, entry, error, &mut self.log, now),
            None => self.strange.forget(&entry.key),
        }
        Some(decoded)
    }

    /// What is shown of the entry under `key`.
    fn under(&self, key: &Key) -> Vec<InstanceKey> {
        let shown = self.instances.under(key.as_str());
        shown.map(|instance| instance.identity()).collect()
    }

    /// The registry has `instance`.
    fn show(&mut self, instance: Instance, now: Instant) -> bool {
        let identity = instance.identity();
        self.leaving.remove(&identity);
        let was_held = self.removals.release(&identity, now);
        // An instance that has not changed keeps its allocation, so that diffs do not see it.
        let old = self.instances.get(&identity);
        let is_new = old.is_none_or(|old| **old != instance);
        if is_new && !self.insert(instance) {
            self.leave_out();
            return was_held;
        }
        was_held || is_new
    }

    /// Shows `instance`, in place of the one with its key. Returns `false` if there is no room for it.
    fn insert(&mut self, instance: Instance) -> bool {
        let old = self.instances.get(&instance.identity());
        let before = old.map(|old| old.memory());
        let has_room = self.has_room_for(instance.memory(), before, self.instances.len());
        if has_room {
            self.instances.insert(instance);
        }
        has_room
    }

    /// Whether there is room for an instance that takes so much, in place of one that takes what is `before`, beside
    /// so many that are `shown`. If so, it counts from now on.
    fn has_room_for(&mut self, memory: usize, before: Option<usize>, shown: usize) -> bool {
        let bytes = self.bytes - before.unwrap_or(0) + memory;
        let grows = bytes > self.bytes;
        if before.is_none() && shown >= self.limits.instances || grows && bytes > self.limits.bytes
        {
            return false;
        }
        self.has_room |= bytes < self.bytes;
        self.bytes = bytes;
        self.news += memory;
        true
    }

    /// An instance of the registry has no room.
    fn leave_out(&mut self) {
        self.meters.over_limit("prefix");
        self.has_room &= self.left_out > 0;
        self.left_out += 1;
    }

    /// Shows the instance no longer.
    fn take(&mut self, identity: &InstanceKey) {
        if let Some(instance) = self.instances.remove(identity) {
            self.bytes -= instance.memory();
            self.has_room = true;
        }
    }

    /// Whether so much has changed since the last event that it is time for one: the state that is
    /// published and this one share little then.
    pub(super) fn has_much_news(&self) -> bool {
        self.news > self.limits.bytes / NEWS
    }

    /// Why the source is stale, if entries were left out since the last list.
    pub(super) fn over_limits(&self) -> Option<Trouble> {
        (self.left_out > 0).then(|| Trouble::OverLimits {
            instances: self.instances.len(),
            bytes: self.bytes,
        })
    }

    /// Whether entries that were left out may fit now.
    pub(super) fn has_room(&self) -> bool {
        self.left_out > 0 && self.has_room
    }

    /// The registry has the instance no longer: removes it, or notes that it is leaving.
    fn remove(&mut self, identity: InstanceKey, now: Instant) -> bool {
        let Some(instance) = self.instances.get(&identity) else {
            return false;
        };
        if instance.status() == Status::Draining {
            self.removals.announced(&identity, now);
            self.take(&identity);
            return true;
        }
        let is_unreadable = |held: &Held| matches!(held.why, Trouble::Unreadable);
        match self.removals.held().get(&identity) {
            // Its removal is doubted as any other, and no longer as that of an entry that cannot be read.
            Some(held) if is_unreadable(held) => {
                self.removals.release(&identity, now);
                self.leaving.insert(identity);
            }
            Some(_) => {}
            None => {
                self.leaving.insert(identity);
            }
        }
        false
    }

    /// The entry of the instance cannot be read any more.
    fn lose(&mut self, identity: InstanceKey, now: Instant) -> bool {
        let instance = self.instances.get(&identity);
        let is_draining = instance.is_some_and(|it| it.status() == Status::Draining);
        if is_draining || self.removals.grace().is_zero() {
            return self.remove(identity, now);
        }
        self.leaving.remove(&identity);
        self.removals.hold_unreadable(&identity, now)
    }

    /// Removes those that are leaving, or holds their removals.
    fn settle(&mut self, now: Instant) -> bool {
        let mut leaving = std::mem::take(&mut self.leaving);
        let held = self.removals.held().len();
        let left = self.instances.len() - held - leaving.len();
        let changed = !leaving.is_empty();
        let loss = self.removals.hold(&mut leaving, left, now);
        if self.removals.held().len() > held {
            self.log_held(loss, now);
        }
        for key in &leaving {
            self.take(key);
        }
        changed
    }

    fn forget(&mut self, key: &Key) {
        self.unreadable.forget(key);
        self.strange.forget(key);
    }

    fn log_list(&self, entries: usize, now: Instant) {
        let instances = self.instances.len();
        if self.log.quota.allows(now) {
            tracing::info!(prefix = %Escaped(&self.prefix), entries, instances, "listed");
        } else {
            tracing::debug!(prefix = %Escaped(&self.prefix), entries, instances, "listed");
        }
    }

    fn log_rest(&mut self, now: Instant) {
        self.unreadable.log_rest(&self.prefix, &mut self.log, now);
        self.strange.log_rest(&self.prefix, &mut self.log, now);
    }

    fn log_held(&mut self, loss: Option<Loss>, now: Instant) {
        if loss.is_some() {
            self.meters.lost_many();
        }
        if !self.log.allows_removals(now) {
            return;
        }
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
