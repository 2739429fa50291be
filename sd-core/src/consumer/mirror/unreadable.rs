//! Entries that cannot be read, wholly or in part: the first of them are logged, each once, and then
//! how many more there are.

use crate::{
    instances::CodecError,
    registry::{Entry, ErrorChain, Escaped, Key, Prefix},
    support::LogThrottle,
};
use std::collections::{HashMap, hash_map::Entry as Slot};
use tokio::time::Instant;

/// No more are remembered. An operator with so many of them knows by then.
const MOST: usize = 1024;
/// So many have a line of their own at once.
const LINES: u32 = 16;

pub(super) struct UnreadableEntries {
    /// What the log says of one, and of how many more there are.
    messages: [&'static str; 2],
    /// Each key with the last error of the codec.
    known: HashMap<Key, Box<str>>,
    lines: LogThrottle,
    counts: LogThrottle,
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
            lines: LogThrottle::new(LINES),
            counts: LogThrottle::new(1),
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
        now: Instant,
    ) {
        let message = ErrorChain(error).to_string().into_boxed_str();
        let is_full = self.known.len() >= MOST;
        let is_remembered = match self.known.entry(entry.key.clone()) {
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
        if !is_remembered || !self.lines.allows(now) {
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
    pub(super) fn log_rest(&mut self, prefix: &Prefix, now: Instant) {
        if self.unlogged > 0 && self.counts.allows(now) {
            let entries = std::mem::take(&mut self.unlogged);
            tracing::warn!(prefix = %Escaped(prefix), entries, "{}", self.messages[1]);
        }
    }

    /// The entry under `key` is gone, or can be read.
    pub(super) fn forget(&mut self, key: &Key) {
        if !self.known.is_empty() {
            self.known.remove(key);
        }
    }

    /// Keeps only the keys that `is_there`.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.known.retain(|key, _| is_there(key));
    }
}
