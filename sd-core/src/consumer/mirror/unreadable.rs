//! Entries that cannot be read, each of which is logged once.

use crate::{
    instances::CodecError,
    registry::{Entry, Key, Prefix},
};
use std::collections::{HashMap, hash_map::Entry as Slot};

/// No more are remembered and logged. An operator with so many of them knows by then.
const MOST: usize = 1024;

/// The keys of unreadable entries, each with the last error of the codec.
#[derive(Default)]
pub(super) struct UnreadableEntries(HashMap<Key, Box<str>>);

impl UnreadableEntries {
    /// `entry` could not be read.
    pub(super) fn note(&mut self, prefix: &Prefix, entry: &Entry, error: &CodecError) {
        let message = error.to_string().into_boxed_str();
        let full = self.0.len() >= MOST;
        match self.0.entry(entry.key.clone()) {
            Slot::Occupied(known) if *known.get() == message => return,
            Slot::Occupied(mut known) => _ = known.insert(message),
            Slot::Vacant(_) if full => return,
            Slot::Vacant(new) => _ = new.insert(message),
        }
        let bytes = entry.value.len();
        tracing::warn!(%prefix, key = %entry.key, bytes, %error, "entry skipped");
        if !full && self.0.len() >= MOST {
            tracing::warn!(%prefix, unreadable = MOST, "no more of them are logged");
        }
    }

    /// The entry under `key` is gone, or can be read.
    pub(super) fn forget(&mut self, key: &Key) {
        if !self.0.is_empty() {
            self.0.remove(key);
        }
    }

    /// Keeps only the keys that `is_there`.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.0.retain(|key, _| is_there(key));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
