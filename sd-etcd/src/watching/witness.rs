//! What is known of the keys under a prefix, as far as a small read tells whether it is true.
//!
//! Say that etcd was rolled back, and that new changes have brought its counter past the revision that
//! we know. The facts of a [`Witness`] then tell the new history from the one that was lost:
//!
//! - If nothing under the prefix was lost, any new change shows. A put that stands is newer than the
//!   last known change, and a deletion alters the number of keys. Puts that were deleted again leave
//!   the keys as they were.
//! - If something was lost, the last known change has to have happened again to go unnoticed: at the
//!   same revision, to the same key, with the same value, lease and version.
//!
//! A list does not tell of deletions. So this is not noticed: the keys were listed and have not changed
//! since, all of them are older than the backup, and since the backup as many keys were deleted in the
//! new history as in the lost one, but others. Two histories that share the last known change and the
//! number of keys cannot be told apart either.

use etcd_client::KeyValue;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// Facts of the keys under a prefix at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Witness {
    /// How many keys there are. `None` if they were never listed.
    count: Option<i64>,
    /// The last put that is known.
    put: Option<Put>,
    /// The last change, if it was a deletion.
    deletion: Option<Deletion>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) key: Arc<[u8]>,
    modified: i64,
    /// Of its value, lease, version and creation.
    digest: u64,
    /// How many keys were put at this revision, itself included.
    siblings: i64,
    /// The last revision at which it stands. `None` while it does.
    pub(super) until: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deletion {
    pub(super) key: Arc<[u8]>,
    pub(super) revision: i64,
}

impl Witness {
    /// Returns what a list of no entries tells.
    pub(super) fn of_none() -> Self {
        Self {
            count: Some(0),
            put: None,
            deletion: None,
        }
    }

    /// Notes that `entries` were listed as well.
    pub(super) fn listed(&mut self, entries: &[KeyValue]) {
        self.count = self.count.map(|count| count + entries.len() as i64);
        let newest = entries.iter().map(KeyValue::mod_revision).max();
        let known = self.put.as_ref().map(|put| put.modified);
        if newest < known {
            return;
        }
        let newest = entries
            .iter()
            .filter(|it| Some(it.mod_revision()) == newest);
        for entry in newest {
            self.put_newest(entry);
        }
    }

    /// Returns what a list of all entries tells.
    #[cfg(test)]
    pub(super) fn among(entries: &[KeyValue]) -> Self {
        let mut witness = Self::of_none();
        witness.listed(entries);
        witness
    }

    /// How many keys there are, if they were listed.
    pub(super) fn count(&self) -> Option<i64> {
        self.count
    }

    /// Notes that there are so many keys.
    pub(super) fn counted(&mut self, count: i64) {
        self.count = Some(count);
    }

    /// Returns what a witness of one prefix, at `revision`, tells a watch of another: the last put,
    /// as it stood then.
    pub(super) fn elsewhere(mut self, revision: i64) -> Self {
        if let Some(put) = &mut self.put {
            put.until.get_or_insert(revision);
        }
        Self {
            count: None,
            put: self.put,
            deletion: None,
        }
    }

    /// Whether the keys were listed, so that [`verify`](Self::verify) can tell.
    pub(super) fn is_complete(&self) -> bool {
        self.count.is_some()
    }

    /// Notes that `entry` was put.
    pub(super) fn put(&mut self, entry: &KeyValue) {
        if entry.create_revision() == entry.mod_revision() {
            self.count = self.count.map(|count| count + 1);
        }
        self.deletion = None;
        self.put_newest(entry);
    }

    fn put_newest(&mut self, entry: &KeyValue) {
        match &mut self.put {
            Some(put) if put.modified == entry.mod_revision() => put.siblings += 1,
            _ => {
                self.put = Some(Put {
                    key: entry.key().into(),
                    modified: entry.mod_revision(),
                    digest: digest(entry),
                    siblings: 1,
                    until: None,
                });
            }
        }
    }

    /// Notes that `key` was deleted at `revision`.
    pub(super) fn deleted(&mut self, key: &[u8], revision: i64) {
        self.count = self.count.map(|count| count - 1);
        let put = self.put.as_mut();
        if put.as_ref().is_none_or(|put| put.modified < revision) {
            self.deletion = Some(Deletion {
                key: key.into(),
                revision,
            });
        }
        if let Some(put) = put
            && put.until.is_none()
            && *put.key == *key
        {
            put.until = Some(revision - 1);
        }
    }

    /// Whether there are no keys. If that is still so, the mirror is right whatever the history.
    pub(super) fn is_empty(&self) -> bool {
        self.count == Some(0)
    }

    pub(super) fn last_put(&self) -> Option<&Put> {
        self.put.as_ref()
    }

    /// Returns the last change if it was a deletion that has to be looked for.
    pub(super) fn last_deletion(&self) -> Option<&Deletion> {
        self.deletion.as_ref().filter(|_| !self.is_empty())
    }

    /// Returns how many of the newest entries [`verify`](Self::verify) needs.
    pub(super) fn needs(&self) -> i64 {
        self.put.as_ref().map_or(1, |put| put.siblings)
    }

    /// Compares it with what etcd answers: how many keys there are, and the newest of them.
    ///
    /// # Errors
    /// What is otherwise.
    pub(super) fn verify(&self, count: i64, newest: &[KeyValue]) -> Result<(), &'static str> {
        if Some(count) != self.count {
            return Err("the number of keys at the known revision differs");
        }
        let Some(put) = self.put.as_ref().filter(|_| !self.is_empty()) else {
            return Ok(());
        };
        let modified = newest.iter().map(KeyValue::mod_revision).max();
        let is_true = match put.until {
            None => modified == Some(put.modified) && newest.iter().any(|entry| put.is(entry)),
            Some(_) => modified <= Some(put.modified),
        };
        match is_true {
            true => Ok(()),
            false => Err("the newest entry at the known revision differs"),
        }
    }
}

impl Put {
    /// Whether `entry` is what was put.
    pub(super) fn is(&self, entry: &KeyValue) -> bool {
        entry.mod_revision() == self.modified
            && entry.key() == &*self.key
            && digest(entry) == self.digest
    }
}

fn digest(entry: &KeyValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    let numbers = (entry.create_revision(), entry.version(), entry.lease());
    (numbers, entry.value()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_client::proto::PbKeyValue;

    /// An entry that was put once, at that revision.
    fn entry(key: &str, modified: i64) -> KeyValue {
        KeyValue(PbKeyValue {
            key: key.into(),
            value: b"10.0.0.1:80".into(),
            create_revision: modified,
            mod_revision: modified,
            version: 1,
            lease: 7,
        })
    }

    fn known() -> Witness {
        Witness::among(&[entry("a", 5), entry("b", 6)])
    }

    #[test]
    fn what_is_as_it_was_is_confirmed() {
        assert_eq!(known().verify(2, &[entry("b", 6)]), Ok(()));
        assert_eq!(Witness::among(&[]).verify(0, &[]), Ok(()));
    }

    #[test]
    fn another_number_of_keys_is_another_history() {
        assert!(known().verify(1, &[entry("b", 6)]).is_err());
        assert!(known().verify(3, &[entry("b", 6)]).is_err());
        assert!(Witness::among(&[]).verify(1, &[entry("b", 6)]).is_err());
    }

    #[test]
    fn another_newest_entry_is_another_history() {
        assert!(known().verify(2, &[entry("a", 7)]).is_err());
        assert!(known().verify(2, &[entry("c", 6)]).is_err());
        let mut other = entry("b", 6);
        other.0.lease = 8;
        assert!(known().verify(2, &[other]).is_err());
    }

    #[test]
    fn of_keys_that_were_put_together_any_may_come_first() {
        let together = Witness::among(&[entry("a", 6), entry("b", 6)]);
        assert_eq!(together.needs(), 2);
        let newest = [entry("b", 6), entry("a", 6)];
        assert_eq!(together.verify(2, &newest), Ok(()));
    }

    #[test]
    fn after_a_deletion_nothing_newer_stands() {
        let mut witness = known();
        witness.deleted(b"b", 9);
        witness.put(&entry("c", 9));
        witness.deleted(b"c", 10);
        let deletion = witness.last_deletion().map(|it| (&*it.key, it.revision));
        assert_eq!(deletion, Some((b"c".as_slice(), 10)));
        assert_eq!(witness.verify(1, &[entry("a", 5)]), Ok(()));
        assert!(witness.verify(1, &[entry("a", 11)]).is_err());
    }

    #[test]
    fn a_put_that_was_deleted_still_speaks_for_the_time_before() {
        let mut witness = known();
        witness.deleted(b"a", 8);
        assert_eq!(witness.last_put().and_then(|put| put.until), None);
        witness.deleted(b"b", 9);
        assert_eq!(witness.last_put().and_then(|put| put.until), Some(8));
        assert!(
            witness.last_deletion().is_none(),
            "nothing is left to be wrong about"
        );
    }
}
