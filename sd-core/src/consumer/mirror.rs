//! The mirror of a prefix, as a state machine without I/O.
//!
//! List once, watch from there, apply what changed; list again only after a gap, and then apply the
//! difference. Whoever drives it asks [`next`](Mirror::next) what to do, does it, reports the
//! outcome together with the time, and publishes what [`take_event`](Mirror::take_event) gives.
//!
//! # When the registry counts as healthy
//! After trouble the source is live again when the registry has answered *about this watch*: a
//! watch has been opened from the mirror's revision, or an open one that was disrupted has yielded
//! a batch, progress included. A list alone is not enough, since changes after it are not heard of
//! yet. Waiting for a batch on a new watch would be too much, since an idle prefix may have none,
//! and a watch that is silent for a bad reason has to say so. What is still to come from a resumed
//! watch arrives within the grace period, which begins at that moment.

#[cfg(test)]
mod model;
mod pace;
mod stabiliser;
#[cfg(test)]
mod tests;
mod unreadable;

use super::meters::SourceMeters;
use crate::{
    instances::{Codec, CodecError, Event, Health, Instances, Trouble},
    registry::{Batch, Change, Entry, Error, Key, Prefix, Revision, Snapshot, WatchError, chain},
    support::{Severity, Warnings},
};
use pace::Pace;
use stabiliser::Stabiliser;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use unreadable::Unreadable;

/// What is known of a prefix, and what to do to know more.
pub(crate) struct Mirror {
    prefix: Prefix,
    codec: Arc<dyn Codec>,
    phase: Phase,
    pace: Pace,
    pause: Duration,
    instances: Instances,
    health: Health,
    stabiliser: Stabiliser,
    unreadable: Unreadable,
    meters: SourceMeters,
    trouble: Option<Trouble>,
    warnings: Warnings,
    skipped: u64,
    version: u64,
    changed: bool,
}

/// How far the mirror has come.
enum Phase {
    /// Nothing is known yet.
    Empty,
    /// What is known cannot be brought up to date by a watch.
    Outdated,
    /// The state as of `resume` is known.
    Listed { resume: Revision },
    /// The same, and a watch that was opened at `since` tells what changes.
    Watching { resume: Revision, since: Instant },
}

/// What the driver does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Read all entries.
    List,
    /// Open a watch.
    Watch { after: Revision },
    /// Read the watch that is open.
    Read,
}

impl Mirror {
    /// A mirror that knows nothing yet. Removals after trouble are held for `grace`; `longest_pause`
    /// is the longest time between two attempts while the registry is down.
    pub(crate) fn new(
        prefix: Prefix,
        codec: Arc<dyn Codec>,
        grace: Duration,
        longest_pause: Duration,
    ) -> Self {
        Self {
            meters: SourceMeters::new(prefix.as_str()),
            prefix,
            codec,
            phase: Phase::Empty,
            pace: Pace::new(longest_pause),
            pause: Duration::ZERO,
            instances: Instances::default(),
            health: Health::Live,
            stabiliser: Stabiliser::new(grace),
            unreadable: Unreadable::default(),
            trouble: None,
            warnings: Warnings::default(),
            skipped: 0,
            version: 0,
            changed: false,
        }
    }

    /// What to do next, and how long to wait before. The wait is said once.
    pub(crate) fn next(&mut self) -> (Duration, Next) {
        let next = match &self.phase {
            Phase::Empty | Phase::Outdated => Next::List,
            Phase::Listed { resume } => Next::Watch {
                after: resume.clone(),
            },
            Phase::Watching { .. } => Next::Read,
        };
        (std::mem::take(&mut self.pause), next)
    }

    /// Whether a watch is to be read.
    pub(crate) fn is_watching(&self) -> bool {
        matches!(self.phase, Phase::Watching { .. })
    }

    /// Whether a list has ever succeeded.
    pub(crate) fn is_ready(&self) -> bool {
        !matches!(self.phase, Phase::Empty)
    }

    /// What went wrong last, as long as it has not been overcome.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// How often something was left out because it could not be read.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// When [`tick`](Self::tick) is due, if at all.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.stabiliser.deadline()
    }

    /// The new state, if it has changed since the last call. Mere progress is no change.
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.version += 1;
        self.meters
            .shows(self.instances.len(), self.stabiliser.held().len());
        Some(Event {
            version: self.version,
            instances: self.instances.clone(),
            health: self.health.clone(),
            held: self.stabiliser.held().clone(),
        })
    }

    // === What happened ===

    /// All entries were read.
    pub(crate) fn listed(&mut self, snapshot: Snapshot, now: Instant) {
        let Snapshot {
            mut entries,
            revision,
            skipped,
        } = snapshot;
        let listed = entries.len();
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let is_listed = |key: &Key| entries.binary_search_by(|e| e.key.cmp(key)).is_ok();
        let gone: Vec<Key> = self
            .instances
            .iter()
            .map(|instance| instance.key())
            .filter(|key| !is_listed(key))
            .cloned()
            .collect();
        self.unreadable.retain(is_listed);

        let held = self.stabiliser.held().len();
        for key in gone {
            self.remove(&key, now);
        }
        for entry in entries {
            self.put(&entry, now);
        }
        self.skip(skipped);
        if !self.is_ready() {
            self.trouble = None;
            self.changed = true;
        }
        self.phase = Phase::Listed { resume: revision };
        self.meters.listed();
        tracing::info!(
            prefix = %self.prefix,
            entries = listed,
            instances = self.instances.len(),
            "listed"
        );
        self.log_held(held);
    }

    /// The entries could not be read.
    pub(crate) fn list_failed(&mut self, error: Error, now: Instant) {
        self.fail(Trouble::List(error), now);
    }

    /// A watch was opened from the revision that [`Next::Watch`] named.
    pub(crate) fn opened(&mut self, now: Instant) {
        let Phase::Listed { resume } = &self.phase else {
            return;
        };
        self.phase = Phase::Watching {
            resume: resume.clone(),
            since: now,
        };
        self.recover(now);
    }

    /// The watch yielded a batch.
    pub(crate) fn batch(&mut self, batch: Batch, now: Instant) {
        let Phase::Watching { resume, .. } = &mut self.phase else {
            return;
        };
        *resume = batch.resume;
        let held = self.stabiliser.held().len();
        for change in batch.changes {
            match change {
                Change::Put(entry) => self.put(&entry, now),
                Change::Delete(key) => {
                    self.unreadable.forget(&key);
                    self.remove(&key, now);
                }
            }
        }
        self.skip(batch.skipped);
        self.recover(now);
        self.log_held(held);
    }

    /// The watch could not be opened, or yielded an error.
    pub(crate) fn watch_failed(&mut self, error: WatchError, now: Instant) {
        if let (WatchError::Disrupted(_), Phase::Watching { .. }) = (&error, &self.phase) {
            self.note(Trouble::Watch(error), now);
            return;
        }
        if let Phase::Watching { since, .. } = self.phase
            && now.saturating_duration_since(since) >= self.pace.longest()
        {
            self.pace.reset();
        }
        self.phase = match std::mem::replace(&mut self.phase, Phase::Outdated) {
            Phase::Empty => Phase::Empty,
            Phase::Listed { resume } | Phase::Watching { resume, .. }
                if !matches!(error, WatchError::Gap(_)) =>
            {
                Phase::Listed { resume }
            }
            _ => Phase::Outdated,
        };
        self.fail(Trouble::Watch(error), now);
    }

    /// The watch ended without saying why, which is as good as an interruption.
    pub(crate) fn watch_ended(&mut self, now: Instant) {
        let error = Error::unavailable("the watch ended without an error");
        self.watch_failed(WatchError::Interrupted(error), now);
    }

    /// Time has passed. To be called after what has happened until then was reported, so that
    /// trouble that is already known stops what it doubts.
    pub(crate) fn tick(&mut self, now: Instant) {
        let Some(due) = self.stabiliser.settle(now) else {
            return;
        };
        if due.is_empty() {
            return;
        }
        for key in due.keys() {
            self.instances.remove(key);
        }
        self.changed = true;
        let longest = due
            .values()
            .map(|held| now.saturating_duration_since(held.since));
        tracing::warn!(
            prefix = %self.prefix,
            removed = due.len(),
            held_for = ?longest.max().unwrap_or_default(),
            "held removals applied: the registry has been healthy for the grace period"
        );
    }

    // === Entries ===

    fn put(&mut self, entry: &Entry, now: Instant) {
        let decoded = self.codec.decode(entry).and_then(|instance| {
            // Anything else would never be removed again.
            if *instance.key() == entry.key {
                Ok(instance)
            } else {
                Err(CodecError::new("the codec gave the instance another key"))
            }
        });
        match decoded {
            Ok(instance) => {
                self.unreadable.forget(&entry.key);
                self.changed |= self.stabiliser.release(&entry.key);
                // What did not change keeps its allocation, so that diffs do not see it.
                if self
                    .instances
                    .get(&entry.key)
                    .is_none_or(|old| **old != instance)
                {
                    self.instances.insert(Arc::new(instance));
                    self.changed = true;
                }
            }
            Err(error) => {
                self.skip(1);
                self.unreadable.note(&self.prefix, entry, &error);
                self.remove(&entry.key, now);
            }
        }
    }

    /// Removes the instance under `key`, or has it wait.
    fn remove(&mut self, key: &Key, now: Instant) {
        let Some(instance) = self.instances.get(key) else {
            return;
        };
        if self.stabiliser.held().contains_key(key) {
            return;
        }
        if !self.stabiliser.hold(instance, now) {
            self.instances.remove(key);
        }
        self.changed = true;
    }

    fn skip(&mut self, entries: u64) {
        self.skipped = self.skipped.saturating_add(entries);
        self.meters.skipped(entries);
    }

    fn log_held(&self, before: usize) {
        let held = self.stabiliser.held().len();
        if held > before {
            tracing::warn!(
                prefix = %self.prefix,
                held,
                grace = ?self.stabiliser.grace(),
                "removals held back: they apply when the registry has been healthy for the grace period"
            );
        }
    }

    // === Health ===

    /// Trouble that ends the attempt, so that the next one has to wait.
    fn fail(&mut self, why: Trouble, now: Instant) {
        self.pause = self.pace.pause(can_pass(&why));
        self.note(why, now);
    }

    fn note(&mut self, why: Trouble, now: Instant) {
        self.log_trouble(&why, now);
        self.meters.disrupted(&why);
        if self.is_ready() {
            if self.health.is_live() {
                self.health = Health::Stale {
                    since: now,
                    why: why.clone(),
                };
                self.changed = true;
            }
            self.stabiliser.doubt(&why);
        }
        self.trouble = Some(why);
    }

    fn recover(&mut self, now: Instant) {
        self.trouble = None;
        self.meters.recovered();
        self.stabiliser.heal(now);
        let was_warned_of = self.warnings.end();
        if let Health::Stale { since, .. } = self.health {
            self.health = Health::Live;
            self.changed = true;
            let stale = now.saturating_duration_since(since);
            if was_warned_of {
                tracing::info!(prefix = %self.prefix, ?stale, "following again");
            } else {
                tracing::debug!(prefix = %self.prefix, ?stale, "following again");
            }
        }
    }

    /// Of a series of troubles the first is the news, and what is graver than all before it; an
    /// outage is the client's news.
    fn log_trouble(&mut self, why: &Trouble, now: Instant) {
        let (prefix, error, pause) = (&self.prefix, chain(why), self.pause);
        let Some(cause) = cause(why) else {
            tracing::warn!(%prefix, error, ?pause, "changes were missed, listing again");
            return;
        };
        if matches!(cause, Error::Closed) {
            if self.trouble.is_none() {
                tracing::info!(%prefix, "the client was closed, keeping what is known");
            }
            return;
        }
        match self.warnings.note(cause, now) {
            Some(Severity::Permanent) => {
                tracing::error!(%prefix, error, ?pause, "not following until somebody changes that");
            }
            Some(_) if self.is_ready() => {
                tracing::warn!(%prefix, error, ?pause, "not following, keeping what is known");
            }
            Some(_) => tracing::warn!(%prefix, error, ?pause, "nothing known yet, trying on"),
            None => tracing::debug!(%prefix, error, ?pause, "not following"),
        }
    }
}

/// What went wrong, unless it is a gap.
fn cause(why: &Trouble) -> Option<&Error> {
    match why {
        Trouble::List(error)
        | Trouble::Watch(WatchError::Disrupted(error) | WatchError::Interrupted(error)) => {
            Some(error)
        }
        Trouble::Watch(WatchError::Gap(_)) | Trouble::Stopped | Trouble::Panicked { .. } => None,
    }
}

/// Whether it may go away by itself.
fn can_pass(why: &Trouble) -> bool {
    cause(why).is_none_or(Error::is_transient)
}
