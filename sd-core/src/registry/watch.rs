//! Watches: the changes under a prefix, batch by batch.

use super::{entry::Entry, error::Error, escaped::Message, key::Key, revision::Revision};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// One change of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The entry is new, or has another value or lease.
    Put(Entry),
    /// The entry under this key was removed.
    Delete(Key),
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete(key) => key,
        }
    }

    /// The new value. `None` if the entry was removed.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put(entry) => Some(&entry.value),
            Self::Delete(_) => None,
        }
    }
}

/// Changes that belong together. A copy of the prefix to which all of them are applied equals the
/// registry at `resume`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Batch {
    /// What changed, oldest first. An empty batch is progress: the registry answers, and a later
    /// watch may resume from `resume`. A backend makes none that the registry did not answer. What the registry changed at once is never split over two
    /// batches. Several changes of one key may be coalesced into the last.
    pub changes: Vec<Change>,
    /// Where to resume once the changes are applied.
    pub resume: Revision,
    /// How many changes were left out because their key is not UTF-8.
    pub skipped: u64,
}

impl Batch {
    /// A batch of `changes` that leads to `resume`, with none skipped.
    pub fn new(changes: Vec<Change>, resume: Revision) -> Self {
        Self {
            changes,
            resume,
            skipped: 0,
        }
    }

    /// The same batch with this number of skipped changes.
    #[must_use]
    pub fn with_skipped(mut self, skipped: u64) -> Self {
        self.skipped = skipped;
        self
    }
}

/// Why a watch yields no changes at the moment, or has ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The registry does not answer at the moment. The watch goes on. The next batch, which may be
    /// progress, shows that the registry answers again. Every other error ends the watch.
    #[error("the registry does not answer")]
    Disrupted(#[source] Error),

    /// The watch has ended. A new watch from the last `resume` misses nothing. If the error is not
    /// transient (missing rights), a new watch fails too.
    #[error("the watch was interrupted")]
    Interrupted(#[source] Error),

    /// The watch has ended, and no watch can resume from the last `resume`. List again.
    #[error("the watch cannot be resumed: {0}")]
    Gap(Gap),
}

/// Becomes [`Interrupted`](WatchError::Interrupted).
impl From<Error> for WatchError {
    fn from(error: Error) -> Self {
        Self::Interrupted(error)
    }
}

impl From<Gap> for WatchError {
    fn from(gap: Gap) -> Self {
        Self::Gap(gap)
    }
}

/// Why the changes after a resume token are not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Gap {
    /// The registry has dropped that part of its history.
    #[error("its history was compacted")]
    Compacted,

    /// The registry is not the one that was known: wiped, restored or replaced.
    #[error("the registry was rebuilt ({})", Message(.0))]
    Rebuilt(String),

    /// More has changed at once than the client holds.
    #[error("more has changed at once than is held")]
    Overflow,

    /// Another backend made the resume token.
    #[error("the resume token is not of this backend")]
    ForeignToken,
}

/// The changes under a prefix: a stream of batches, made by
/// [`Client::watch_prefix`](crate::Client::watch_prefix).
///
/// It begins with a batch, empty or not, once the registry has answered that the watch stands. An
/// [`Interrupted`](WatchError::Interrupted) or [`Gap`](WatchError::Gap) is the last item.
/// Dropping the watch ends it at the registry too.
#[must_use = "a watch that is dropped has ended"]
pub struct Watch(BoxStream<'static, Result<Batch, WatchError>>);

impl Watch {
    /// A watch made of any stream; what the stream owns is dropped with it.
    pub fn new<S>(stream: S) -> Self
    where
        S: Stream<Item = Result<Batch, WatchError>> + Send + 'static,
    {
        Self(stream.boxed())
    }
}

impl Stream for Watch {
    type Item = Result<Batch, WatchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_interrupts_a_watch_and_a_gap_is_a_gap() {
        let interrupted = WatchError::from(Error::Closed);
        assert!(matches!(
            interrupted,
            WatchError::Interrupted(Error::Closed)
        ));
        let gap = WatchError::from(Gap::Compacted);
        assert!(matches!(gap, WatchError::Gap(Gap::Compacted)));
    }

    #[test]
    fn a_change_says_what_stands_under_its_key_now() {
        let key = Key::new("/services/hello/a").unwrap();
        let entry = Entry::new(key.clone(), "10.0.0.1:80").with_value("10.0.0.2:80");
        let changes = [Change::Put(entry), Change::Delete(key.clone())];
        let batch = Batch::new(changes.into(), Revision::new(7_u64)).with_skipped(2);
        let told: Vec<_> = batch
            .changes
            .iter()
            .map(|it| (it.key(), it.value()))
            .collect();
        let value = Bytes::from_static(b"10.0.0.2:80");
        assert_eq!(told, [(&key, Some(&value)), (&key, None)]);
        assert_eq!(batch.skipped, 2);
    }
}
