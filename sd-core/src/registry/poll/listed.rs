//! What was listed, as a resume token.

use crate::registry::{entry::Entry, key::Key, prefix::Prefix, revision::Revision, watch::Change};
use bytes::Bytes;
use std::{collections::BTreeMap, fmt, sync::Arc};

pub(super) type Entries = BTreeMap<Key, Bytes>;

/// The resume token: what was listed, and where.
#[derive(PartialEq, Eq)]
pub(super) struct Listed {
    prefix: Prefix,
    entries: Arc<Entries>,
}

impl Listed {
    pub(super) fn revision(prefix: &Prefix, entries: &Arc<Entries>) -> Revision {
        Revision::new(Self {
            prefix: prefix.clone(),
            entries: entries.clone(),
        })
    }

    /// What was listed under `prefix`; `None` if that was not listed, or not all of it.
    pub(super) fn under(&self, prefix: &Prefix) -> Option<Arc<Entries>> {
        if *prefix == self.prefix {
            return Some(self.entries.clone());
        }
        self.prefix.matches(prefix.as_str()).then(|| {
            let entries = self.entries.iter().filter(|(key, _)| prefix.matches(key));
            Arc::new(
                entries
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            )
        })
    }
}

/// Revisions are logged, and the entries may be many.
impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Listed({} entries under {})",
            self.entries.len(),
            self.prefix
        )
    }
}

/// What leads from `old` to `new`.
pub(super) fn changes(old: &Entries, new: &Entries) -> Vec<Change> {
    let deleted = old.keys().filter(|key| !new.contains_key(*key));
    let put = new
        .iter()
        .filter(|(key, value)| old.get(*key) != Some(*value));
    deleted
        .map(|key| Change::Delete(key.clone()))
        .chain(put.map(|(key, value)| Change::Put(Entry::new(key.clone(), value.clone()))))
        .collect()
}
