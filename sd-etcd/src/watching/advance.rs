//! How far a watch comes at once.

use super::{buffer::WatchBuffer, changes::Changes, entry, token::ResumeToken};
use crate::config::Options;
use etcd_client::KeyValue;
use sd_core::Change;

/// Changes, and where they lead to.
pub(super) struct Advance {
    pub(super) changes: Changes,
    /// How many more there are, of keys that cannot be understood.
    skipped: u64,
    pub(super) token: ResumeToken,
}

impl Advance {
    /// None yet, from `token` on.
    pub(super) fn from(token: ResumeToken) -> Self {
        Self {
            changes: Changes::default(),
            skipped: 0,
            token,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.skipped == 0
    }

    /// Adds that `entry` was put.
    pub(super) fn put(&mut self, options: &Options, entry: KeyValue) {
        self.token.revision = entry.mod_revision();
        self.token.witness.put(&entry);
        self.add(entry::entry(options, entry).map(Change::Put));
    }

    /// Adds that `key` was deleted at `revision`.
    pub(super) fn delete(&mut self, options: &Options, key: &[u8], revision: i64) {
        self.token.revision = revision;
        self.token.witness.deleted(key, revision);
        self.add(entry::key(options, key).map(Change::Delete));
    }

    fn add(&mut self, change: Option<Change>) {
        match change {
            Some(change) => self.changes.push(change),
            None => self.skipped += 1,
        }
    }

    /// Hands it over to the reader. Returns `false` if that ended the buffer.
    pub(super) fn hand_over(self, buffer: &WatchBuffer) -> bool {
        buffer.push(self.changes, self.token.into_revision(), self.skipped)
    }
}
