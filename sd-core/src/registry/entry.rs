//! Entries: what a registry holds.

use super::{key::Key, lease::LeaseId, revision::Revision};
use bytes::Bytes;
use std::fmt;

/// A key, its value and its lease as the registry holds them, not decoded.
///
/// `Debug` shows how long the value is, and not the value.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
    /// The lease that the entry ends with. `None` if it has none, or if the registry does not say.
    pub lease: Option<LeaseId>,
}

impl Entry {
    /// The entry that has `value` under `key`, without a lease.
    pub fn new(key: Key, value: impl Into<Bytes>) -> Self {
        Self {
            key,
            value: value.into(),
            lease: None,
        }
    }

    /// The same entry with another value.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = value.into();
        self
    }

    /// The same entry on another lease, or on none.
    #[must_use]
    pub fn with_lease(mut self, lease: impl Into<Option<LeaseId>>) -> Self {
        self.lease = lease.into();
        self
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("lease", &self.lease)
            .finish()
    }
}

/// All entries under a prefix as of one revision.
///
/// ```
/// use sd_core::{Entry, Prefix, Revision, Snapshot};
///
/// let hello = Prefix::new("/services/hello")?;
/// let entry = Entry::new(hello.key("a")?, "10.0.0.1:80");
/// let snapshot = Snapshot::new(vec![entry], Revision::new(7_u64)).with_skipped(2);
/// assert_eq!(snapshot.entries.len(), 1);
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// All entries whose key is UTF-8, each key once, in no particular order.
    pub entries: Vec<Entry>,
    /// The revision at which all entries were read. A watch resumes from here.
    pub revision: Revision,
    /// How many entries were left out because their key is not UTF-8.
    pub skipped: u64,
}

impl Snapshot {
    /// A snapshot of `entries` at `revision`, with none skipped.
    pub fn new(entries: Vec<Entry>, revision: Revision) -> Self {
        Self {
            entries,
            revision,
            skipped: 0,
        }
    }

    /// The same snapshot with this number of skipped entries.
    #[must_use]
    pub fn with_skipped(mut self, skipped: u64) -> Self {
        self.skipped = skipped;
        self
    }
}
