//! The contract between an operator's tool and a registry.

use super::{client::Client, entry::Entry, error::Result, key::Key, revision::Revision};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// A registry in which single entries can be changed by whoever does not hold them: an operator, a tool.
///
/// Beside [`Client`], since providers and consumers need none of it. Nothing is registered: an entry stays on the
/// lease that it is on, and ends with it. [`edit`](crate::edit) changes a weight or a status through it.
///
/// Each change is fenced by what was read: it happens only if that still stands, untouched. So two operators, or an
/// operator and the owner, never overwrite what they have not seen.
#[async_trait]
pub trait Editor: Client {
    /// Reads the entry under `key`, as the registry has it now and not as a member that is behind. `None` if there is
    /// none.
    ///
    /// Cancellation safe.
    ///
    /// # Errors
    /// Whatever kept the registry from answering, a missing right among it.
    async fn get_entry(&self, key: &Key) -> Result<Option<FencedEntry>>;

    /// Gives the entry that was `read` another value, and leaves it on its lease. `false`, and nothing is changed, if
    /// it was put or deleted since, even with the same value.
    ///
    /// When the future is dropped before it resolves, the change may still happen.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid), before anything is sent, if the registry would refuse the entry;
    /// else whatever kept the registry from answering. After a timeout the change may still happen, where the fence
    /// holds.
    async fn replace_entry(&self, read: &FencedEntry, value: Bytes) -> Result<bool>;

    /// Deletes the entry that was `read`. `false`, and nothing is changed, if it was put or deleted since.
    ///
    /// An owner that lives puts its entry back. This is for what nobody holds any more.
    ///
    /// When the future is dropped before it resolves, the deletion may still happen.
    ///
    /// # Errors
    /// As [`replace_entry`](Self::replace_entry).
    async fn delete_entry(&self, read: &FencedEntry) -> Result<bool>;
}

#[async_trait]
impl<C: Editor + ?Sized> Editor for Arc<C> {
    async fn get_entry(&self, key: &Key) -> Result<Option<FencedEntry>> {
        (**self).get_entry(key).await
    }

    async fn replace_entry(&self, read: &FencedEntry, value: Bytes) -> Result<bool> {
        (**self).replace_entry(read, value).await
    }

    async fn delete_entry(&self, read: &FencedEntry) -> Result<bool> {
        (**self).delete_entry(read).await
    }
}

/// An entry as it was read, with what tells whether it still stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FencedEntry {
    /// The entry.
    pub entry: Entry,
    /// Its last change, for the backend that made it. No two changes of one key have the same.
    pub fence: Revision,
}

impl FencedEntry {
    /// `entry`, which stands as long as its last change is `fence`.
    pub fn new(entry: Entry, fence: Revision) -> Self {
        Self { entry, fence }
    }
}
