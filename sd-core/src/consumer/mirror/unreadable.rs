//! Entries that cannot be read, wholly or in part, each of which is logged once.

use crate::{
    instances::CodecError,
    registry::{Entry, Key, Prefix},
};
use std::collections::{HashMap, hash_map::Entry as Slot};

/// No more are remembered and logged. An operator with so many of them knows by then.
const MOST: usize = 1024;

/// The keys of unreadable entries, each with the last error of the codec.
pub(super) struct UnreadableEntries {
    /// What the log says of one.
    what: &'static str,
    errors: HashMap<Key, Box<str>>,
}

impl UnreadableEntries {
    /// None so far. The log says `what` of each.
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            errors: HashMap::new(),
        }
    }

    /// How many there are, as far as they are remembered.
    pub(super) fn len(&self) -> usize {
        self.errors.len()
    }

    /// `entry` could not be read.
    pub(super) fn note(&mut self, prefix: &Prefix, entry: &Entry, error: &CodecError) {
        let message = error.to_string().into_boxed_str();
        let full = self.errors.len() >= MOST;
        match self.errors.entry(entry.key.clone()) {
            Slot::Occupied(known) if *known.get() == message => return,
            Slot::Occupied(mut known) => _ = known.insert(message),
            Slot::Vacant(_) if full => return,
            Slot::Vacant(new) => _ = new.insert(message),
        }
        let bytes = entry.value.len();
        tracing::warn!(%prefix, key = %entry.key, bytes, %error, "{}", self.what);
        if !full && self.errors.len() >= MOST {
            tracing::warn!(%prefix, unreadable = MOST, "no more of them are logged");
        }
    }

    /// The entry under `key` is gone, or can be read.
    pub(super) fn forget(&mut self, key: &Key) {
        if !self.errors.is_empty() {
            self.errors.remove(key);
        }
    }

    /// Keeps only the keys that `is_there`.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.errors.retain(|key, _| is_there(key));
    }
}
