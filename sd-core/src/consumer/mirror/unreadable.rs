//! Entries that cannot be read, wholly or in part: the first of them are logged, each once, and then
//! how many more there are.

use crate::{
    instances::CodecError,
    registry::{Entry, ErrorChain, Escaped, Key, Prefix},
    support::{LineQuota, LogThrottle},
};
use std::{
    collections::{HashMap, HashSet, hash_map::Entry as Slot},
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::time::Instant;

/// No more are remembered. An operator with so many of them knows by then.
const MOST: usize = 1024;
/// So many have a line of their own at once.
const LINES: u32 = 2;
/// The pause after these.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// How often what is under one prefix may cause a line. Whoever may write there can cause any number of
/// reasons for one, so all of a kind share a throttle, which leaves some of the quota to the lines about
/// the source.
pub(super) struct EntryLog {
    /// All lines about the prefix.
    pub(super) quota: LineQuota,
    entries: LogThrottle,
    counts: LogThrottle,
    removals: LogThrottle,
}

impl EntryLog {
    pub(super) fn new(quota: LineQuota) -> Self {
        Self {
            quota,
            entries: LogThrottle::new(LINES).with_first_pause(FIRST_PAUSE),
            counts: LogThrottle::new(1).with_first_pause(FIRST_PAUSE),
            removals: LogThrottle::new(2).with_first_pause(FIRST_PAUSE),
        }
    }

    /// Whether a line about one entry may be logged.
    fn allows_entry(&mut self, now: Instant) -> bool {
        self.quota.allows_if(now, || self.entries.allows(now))
    }

    /// Whether a line about the number of entries may be logged.
    fn allows_count(&mut self, now: Instant) -> bool {
        self.quota.allows_if(now, || self.counts.allows(now))
    }

    /// Whether a line about removals that are held, or that apply, may be logged.
    pub(super) fn allows_removals(&mut self, now: Instant) -> bool {
        self.quota.allows_if(now, || self.removals.allows(now))
    }
}

pub(super) struct UnreadableEntries {
    /// What the log says of one, and of how many more there are.
    messages: [&'static str; 2],
    /// A hash of each key with one of the last error of the codec: a key may be as long as an entry.
    known: HashMap<u64, u64>,
    hasher: RandomState,
    /// Met since the last line, and not logged.
    unlogged: u64,
}

impl UnreadableEntries {
    /// None so far. The log says the first of `messages` of one, and the second of how many more
    /// there are.
    pub(super) fn new(messages: [&'static str; 2]) -> Self {
        Self {
            messages,
            known: HashMap::new(),
            hasher: RandomState::new(),
            unlogged: 0,
        }
    }

    /// How many there are, as far as they are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// `entry` could not be read.
    pub(super) fn note(
        &mut self,
        prefix: &Prefix,
        entry: &Entry,
        error: &CodecError,
        log: &mut EntryLog,
        now: Instant,
    ) {
        let message = self.hasher.hash_one(ErrorChain(error).to_string());
        let is_full = self.known.len() >= MOST;
        let is_remembered = match self.known.entry(self.hasher.hash_one(&entry.key)) {
            Slot::Occupied(known) if *known.get() == message => return,
            Slot::Occupied(mut known) => {
                known.insert(message);
                true
            }
            Slot::Vacant(_) if is_full => false,
            Slot::Vacant(new) => {
                new.insert(message);
                true
            }
        };
        if !is_remembered || !log.allows_entry(now) {
            self.unlogged += 1;
            return;
        }
        tracing::warn!(
            prefix = %Escaped(prefix),
            key = %Escaped(&entry.key),
            bytes = entry.value.len(),
            error = %ErrorChain(error),
            "{}", self.messages[0]
        );
    }

    /// Logs how many more could not be read, unless that was said a short time ago.
    pub(super) fn log_rest(&mut self, prefix: &Prefix, log: &mut EntryLog, now: Instant) {
        if self.unlogged > 0 && log.allows_count(now) {
            let entries = std::mem::take(&mut self.unlogged);
            tracing::warn!(prefix = %Escaped(prefix), entries, "{}", self.messages[1]);
        }
    }

    /// The entry under `key` is gone, or can be read.
    pub(super) fn forget(&mut self, key: &Key) {
        if !self.known.is_empty() {
            self.known.remove(&self.hasher.hash_one(key));
        }
    }

    /// Keeps only those under `keys`.
    pub(super) fn retain<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        if !self.known.is_empty() {
            let hashes: HashSet<_> = keys.map(|key| self.hasher.hash_one(key)).collect();
            self.known.retain(|key, _| hashes.contains(key));
        }
    }
}
