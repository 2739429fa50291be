//! What a registry holds: entries.

use super::{key::Key, revision::Revision};
use bytes::Bytes;

/// A key and its value as they stand in the registry, not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub key: Key,
    /// What stands there.
    pub value: Bytes,
}

impl Entry {
    /// An entry of these two.
    pub fn new(key: Key, value: impl Into<Bytes>) -> Self {
        Self {
            key,
            value: value.into(),
        }
    }
}

/// All entries under a prefix as of one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Every entry whose key is text, each key once, in no particular order.
    pub entries: Vec<Entry>,
    /// When the entries were all there together; a watch goes on from here.
    pub revision: Revision,
    /// How many entries were left out because their key is not UTF-8.
    pub skipped: u64,
}
