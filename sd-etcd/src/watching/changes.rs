//! Changes that are not handed over yet, coalesced by key.
//!
//! One key that is overwritten many times while a watch is away, or while its reader is slow, costs no
//! more memory than its last values. Of each key the last put is kept, the deletion before it, and the put
//! before that: an instance may have said in it that it drains.

use sd_core::{Change, Entry, Key};
use std::collections::{HashMap, hash_map};

/// The size of a key's changes without its key and values, in bytes.
const OVERHEAD: usize = size_of::<KeyChanges>() + size_of::<Key>() + size_of::<usize>();

/// Changes, oldest first: a key stands where it changed first.
#[derive(Debug, Default)]
pub(super) struct Changes {
    keys: Vec<KeyChanges>,
    positions: HashMap<Key, usize>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct KeyChanges {
    /// The last put before the deletion.
    put_before: Option<Entry>,
    deleted: Option<Key>,
    put: Option<Entry>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns about how much memory they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, change: Change) {
        let position = match self.positions.entry(change.key().clone()) {
            hash_map::Entry::Occupied(occupied) => *occupied.get(),
            hash_map::Entry::Vacant(vacant) => {
                self.bytes += OVERHEAD + vacant.key().as_str().len();
                self.keys.push(KeyChanges::default());
                *vacant.insert(self.keys.len() - 1)
            }
        };
        let changes = &mut self.keys[position];
        self.bytes -= changes.bytes();
        changes.push(change);
        self.bytes += changes.bytes();
    }

    /// Adds later changes.
    pub(super) fn append(&mut self, later: Self) {
        if self.is_empty() {
            *self = later;
            return;
        }
        for change in later.into_list() {
            self.push(change);
        }
    }

    pub(super) fn into_list(self) -> Vec<Change> {
        let keys = self.keys.into_iter();
        keys.flat_map(KeyChanges::into_list).collect()
    }
}

impl KeyChanges {
    fn push(&mut self, change: Change) {
        match change {
            Change::Put(entry) => self.put = Some(entry),
            Change::Delete(key) => {
                self.put_before = self.put.take().or(self.put_before.take());
                self.deleted = Some(key);
            }
            // There is no other kind.
            _ => {}
        }
    }

    /// Returns the size of the values.
    fn bytes(&self) -> usize {
        let puts = [&self.put_before, &self.put];
        puts.into_iter().flatten().map(|it| it.value.len()).sum()
    }

    fn into_list(self) -> impl Iterator<Item = Change> {
        let deleted = self.deleted.map(Change::Delete);
        let before = self.put_before.map(Change::Put);
        before
            .into_iter()
            .chain(deleted)
            .chain(self.put.map(Change::Put))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(name).unwrap()
    }

    fn put(name: &str, value: &str) -> Change {
        Change::Put(Entry::new(key(name), value.to_owned()))
    }

    fn deleted(name: &str) -> Change {
        Change::Delete(key(name))
    }

    fn coalesced(changes: impl IntoIterator<Item = Change>) -> Vec<Change> {
        let mut all = Changes::default();
        changes.into_iter().for_each(|it| all.push(it));
        all.into_list()
    }

    #[test]
    fn the_last_put_of_a_key_and_what_was_before_its_deletion_are_kept() {
        let a = |value| put("a", value);
        assert_eq!(
            coalesced([a("1"), put("b", "1"), a("2")]),
            [a("2"), put("b", "1")]
        );
        assert_eq!(
            coalesced([a("1"), a("2"), deleted("a")]),
            [a("2"), deleted("a")]
        );
        let again = [a("1"), deleted("a"), a("2"), deleted("a"), a("3")];
        assert_eq!(coalesced(again), [a("2"), deleted("a"), a("3")]);
        assert_eq!(coalesced([deleted("a"), deleted("a")]), [deleted("a")]);
    }

    /// hostile row 4
    #[test]
    fn a_key_that_changes_for_ever_takes_no_more_than_its_last_values() {
        let mut changes = Changes::default();
        let large = "x".repeat(1 << 20);
        for n in 0..1000 {
            changes.push(put("a", &large));
            if n % 3 == 0 {
                changes.push(deleted("a"));
            }
        }
        let most = (2 << 20) + 1000;
        assert!(changes.bytes() < most, "{}", changes.bytes());
        let mut later = Changes::default();
        later.push(put("a", "1"));
        changes.append(later);
        assert!(changes.bytes() < (1 << 20) + 1000, "{}", changes.bytes());
    }
}
