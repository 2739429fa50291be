//! Changes that are not handed over yet, coalesced by key.
//!
//! One key that is overwritten many times while a watch is away, or while its reader is slow, costs no
//! more memory than its last values. Of each key the last put is kept, the deletion before it, and the put
//! before that: an instance may have said in it that it drains.

use sd_core::{Change, Entry, Key};
use std::collections::HashMap;

/// The size of a key's changes without its key and values, in bytes.
const OVERHEAD: usize = size_of::<KeyChanges>() + size_of::<Key>() + size_of::<usize>();
/// So many keys are looked through one by one: mostly one thing changes at a time.
const FEW: usize = 8;

/// Changes, oldest first: a key stands where it changed first.
#[derive(Debug, Default)]
pub(super) struct Changes {
    keys: Vec<KeyChanges>,
    /// Where each key stands. Empty while the keys are few.
    positions: HashMap<Key, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct KeyChanges {
    key: Key,
    /// The last put before the deletion.
    put_before: Option<Entry>,
    is_deleted: bool,
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
        let position = self.position(change.key());
        let changes = &mut self.keys[position];
        self.bytes -= changes.bytes();
        changes.push(change);
        self.bytes += changes.bytes();
    }

    /// Where `key` stands; at the end from now on, if it is new.
    fn position(&mut self, key: &Key) -> usize {
        let known = match self.keys.len() {
            ..=FEW => self.keys.iter().position(|it| it.key == *key),
            _ => self.positions.get(key).copied(),
        };
        known.unwrap_or_else(|| {
            let position = self.keys.len();
            self.bytes += OVERHEAD + key.as_str().len();
            self.keys.push(KeyChanges::of(key.clone()));
            match position {
                ..FEW => {}
                FEW => {
                    self.positions = (0..)
                        .zip(&self.keys)
                        .map(|(n, it)| (it.key.clone(), n))
                        .collect()
                }
                _ => {
                    self.positions.insert(key.clone(), position);
                }
            }
            position
        })
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
    /// None yet, of `key`.
    fn of(key: Key) -> Self {
        Self {
            key,
            put_before: None,
            is_deleted: false,
            put: None,
        }
    }

    fn push(&mut self, change: Change) {
        match change {
            Change::Put(entry) => self.put = Some(entry),
            Change::Delete(_) => {
                self.put_before = self.put.take().or(self.put_before.take());
                self.is_deleted = true;
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
        let deleted = self.is_deleted.then_some(Change::Delete(self.key));
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

    #[test]
    fn each_key_stands_where_it_changed_first_however_many_there_are() {
        for count in [FEW - 1, FEW, FEW + 1, FEW + 2, 10 * FEW] {
            let names: Vec<_> = (0..count).rev().map(|n| format!("{n:03}")).collect();
            let all = |value: &str| {
                names
                    .iter()
                    .map(|name| put(name, value))
                    .collect::<Vec<_>>()
            };
            let changes = [all("1"), all("2")].concat();
            assert_eq!(coalesced(changes), all("2"), "{count}");
        }
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
