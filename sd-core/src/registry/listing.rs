//! Listings: whole states of a prefix, and the changes from one to the next.

use super::{
    entry::{Entry, Snapshot},
    key::Key,
    prefix::Prefix,
    revision::Revision,
    watch::{Batch, Change, Gap},
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// All entries under a prefix at one time. For backends whose registry returns whole states rather
/// than changes: what a DNS name resolves to, what a blocking query of Consul returns.
///
/// From two listings you get the [`Batch`] that leads from the first to the second. A listing can
/// be its own resume token: it is carried in the [`Revision`], and a watch compares it with the
/// next list. So nothing is missed between a list and a watch, and the backend keeps no state. An
/// entry that comes and goes between two listings is not seen. Cheap to clone; memory grows with
/// the entries.
///
/// ```
/// use sd_core::{Batch, Change, Entry, Listing, Prefix, Revision};
///
/// let hello = Prefix::new("/services/hello")?;
/// let [a, b] = [hello.key("a")?, hello.key("b")?];
/// let known = Listing::new(&hello, [Entry::new(a.clone(), "10.0.0.1:80")]);
/// let newer = Listing::new(&hello, [Entry::new(b.clone(), "10.0.0.2:80")]);
///
/// // With the listing as the resume token:
/// let batch = known.batch_to(&newer);
/// let put = Change::Put(Entry::new(b, "10.0.0.2:80"));
/// assert_eq!(batch.changes, [Change::Delete(a), put]);
/// assert_eq!(Listing::resume(&batch.resume, &hello)?, newer);
///
/// // With a token of the backend's own, such as an index to block on:
/// let batch = Batch::new(known.changes_to(&newer), Revision::new((42_u64, newer.clone())));
/// assert_eq!(batch.changes.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Listing {
    prefix: Prefix,
    entries: Arc<BTreeMap<Key, Entry>>,
}

impl Listing {
    /// A listing of `entries` under `prefix`. Entries elsewhere are ignored; of several entries
    /// with one key the last counts.
    pub fn new(prefix: &Prefix, entries: impl IntoIterator<Item = Entry>) -> Self {
        let entries = entries.into_iter();
        let entries = entries.filter(|entry| prefix.matches(&entry.key));
        Self {
            prefix: prefix.clone(),
            entries: Arc::new(entries.map(|entry| (entry.key.clone(), entry)).collect()),
        }
    }

    /// The listing of `prefix` in a resume token. The token must be the
    /// [`revision`](Self::revision) of a listing of this prefix or of a wider one.
    ///
    /// # Errors
    /// [`Gap::ForeignToken`] if the token is not a listing, or does not cover all of `prefix`.
    pub fn resume(token: &Revision, prefix: &Prefix) -> Result<Self, Gap> {
        let listing: &Self = token.downcast_ref().ok_or(Gap::ForeignToken)?;
        if *prefix == listing.prefix {
            return Ok(listing.clone());
        }
        match listing.prefix.matches(prefix.as_str()) {
            true => Ok(Self::new(prefix, listing.entries())),
            false => Err(Gap::ForeignToken),
        }
    }

    /// The entries, in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.values().cloned()
    }

    /// The listing as a resume token.
    pub fn revision(&self) -> Revision {
        Revision::new(self.clone())
    }

    /// The listing as a snapshot, for [`Client::get_entries`](crate::Client::get_entries).
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.entries().collect(), self.revision())
    }

    /// The changes from this listing to `newer`, deletions first.
    pub fn changes_to(&self, newer: &Self) -> Vec<Change> {
        let (old, new) = (&self.entries, &newer.entries);
        let deleted = old.keys().filter(|key| !new.contains_key(*key));
        let put = new
            .values()
            .filter(|entry| old.get(&entry.key) != Some(*entry));
        deleted
            .map(|key| Change::Delete(key.clone()))
            .chain(put.map(|entry| Change::Put(entry.clone())))
            .collect()
    }

    /// The batch of the changes to `newer`, with `newer` as the resume token.
    pub fn batch_to(&self, newer: &Self) -> Batch {
        Batch::new(self.changes_to(newer), newer.revision())
    }
}

/// Prints only a summary, since revisions are logged and there may be many entries.
impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Listing({} entries under {})",
            self.entries.len(),
            self.prefix
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::LeaseId, support::cases};
    use proptest::prelude::*;

    type Entries = BTreeMap<Key, Entry>;

    fn listed() -> impl Strategy<Value = Entries> {
        let key = prop::sample::select(vec!["/a/1", "/a/2", "/a/b/1", "/a/b/2", "/ab/1"]);
        let lease = prop::option::of((0..2_i64).prop_map(LeaseId::from));
        let entry = (key, 0..2_u8, lease).prop_map(|(key, value, lease)| {
            Entry::new(Key::new(key).unwrap(), vec![value]).with_lease(lease)
        });
        let keyed = |entry: Entry| (entry.key.clone(), entry);
        prop::collection::vec(entry, 0..7)
            .prop_map(move |entries| entries.into_iter().map(keyed).collect())
    }

    fn paths() -> impl Strategy<Value = Prefix> {
        prop::sample::select(vec!["/a", "/a/b", "/"]).prop_map(|path| Prefix::new(path).unwrap())
    }

    fn listing(prefix: &Prefix, entries: &Entries) -> Listing {
        Listing::new(prefix, entries.values().cloned())
    }

    fn apply(entries: &mut Entries, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put(entry) => entries.insert(entry.key.clone(), entry),
                Change::Delete(key) => entries.remove(&key),
            };
        }
    }

    proptest! {
        #![proptest_config(cases(1))]

        #[test]
        fn the_changes_lead_from_what_was_known_to_what_is_listed(
            old in listed(),
            new in listed(),
        ) {
            let all = Prefix::new("/").unwrap();
            let (known, newer) = (listing(&all, &old), listing(&all, &new));
            let batch = known.batch_to(&newer);
            let changes = batch.changes;
            for change in &changes {
                prop_assert_ne!(old.get(change.key()), new.get(change.key()));
            }
            let mut changed: Vec<_> = changes.iter().map(Change::key).collect();
            changed.sort();
            changed.dedup();
            prop_assert_eq!(changed.len(), changes.len(), "a key that changes twice");
            let mut entries = old;
            apply(&mut entries, changes);
            prop_assert_eq!(entries, new);
            prop_assert_eq!(Listing::resume(&batch.resume, &all), Ok(newer));
        }

        #[test]
        fn a_token_speaks_for_what_lies_under_its_prefix(
            entries in listed(),
            listed in paths(),
            asked in paths(),
        ) {
            let token = listing(&listed, &entries).revision();
            let known = Listing::resume(&token, &asked);
            let expected = match listed.matches(asked.as_str()) {
                true => Ok(listing(&asked, &entries)),
                false => Err(Gap::ForeignToken),
            };
            prop_assert_eq!(known, expected);
            prop_assert!(Listing::resume(&Revision::new(7_u64), &asked).is_err());
        }
    }

    #[test]
    fn of_several_entries_with_one_key_the_last_counts() {
        let prefix = Prefix::new("/a").unwrap();
        let entries = ["1", "2"].map(|value| Entry::new(prefix.key("b").unwrap(), value));
        let elsewhere = Entry::new(Key::new("/b").unwrap(), "3");
        let [first, last] = entries;
        let listing = Listing::new(&prefix, [first, last.clone(), elsewhere]);
        assert_eq!(listing.snapshot().entries, [last]);
    }
}
