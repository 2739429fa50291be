//! What the reader of a watch has not read yet.
//!
//! The stream that all watches share never waits for a reader: three watches that nobody reads, 6 MiB
//! each, hang every call on their connection. So unread changes are kept here, coalesced and bounded.
//! A reader that lets its buffer overflow is interrupted, and resumes from where it was.

use super::{changes::Changes, meters};
use crate::support::Share;
use sd_core::{Batch, Error, Revision, WatchError};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// More items than this, which are alternating disruptions and batches, count as an overflow.
const MAX_ITEMS: usize = 16;

pub(super) struct WatchBuffer {
    unread: Mutex<Unread>,
    readable: Notify,
    max_bytes: usize,
}

struct Unread {
    items: VecDeque<Result<UnreadBatch, WatchError>>,
    /// Of all batches.
    bytes: usize,
    meter: Share,
    has_ended: bool,
}

struct UnreadBatch {
    changes: Changes,
    resume: Revision,
    skipped: u64,
}

impl WatchBuffer {
    /// Creates a buffer for about `max_bytes`, or for one batch of any size.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            unread: Mutex::new(Unread {
                items: VecDeque::new(),
                bytes: 0,
                meter: Share::new(meters::UNREAD_BYTES),
                has_ended: false,
            }),
            readable: Notify::new(),
            max_bytes,
        }
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch. Returns `false` if it does not fit, which ends the buffer.
    pub(super) fn push(&self, changes: Changes, resume: Revision, skipped: u64) -> bool {
        let fits = {
            let mut unread = self.unread();
            let fits = unread.bytes == 0 || unread.bytes + changes.bytes() <= self.max_bytes;
            if fits && !unread.has_ended {
                unread.push(UnreadBatch {
                    changes,
                    resume,
                    skipped,
                });
            }
            fits && unread.items.len() <= MAX_ITEMS
        };
        if fits {
            self.readable.notify_one();
        } else {
            // Concerns this watch alone, so its reader logs it.
            self.end(WatchError::Interrupted(Error::Backend {
                message: "the watch was not read for too long".into(),
                transient: true,
                source: None,
            }));
        }
        fits
    }

    pub(super) fn disrupt(&self, error: Error) {
        self.push_error(WatchError::Disrupted(error), false);
    }

    /// Ends the buffer with `error`. The reader gets the items before it first.
    pub(super) fn end(&self, error: WatchError) {
        self.push_error(error, true);
    }

    fn push_error(&self, error: WatchError, is_last: bool) {
        let mut unread = self.unread();
        if !unread.has_ended {
            unread.has_ended = is_last;
            unread.items.push_back(Err(error));
            drop(unread);
            self.readable.notify_one();
        }
    }

    /// Returns the next item, or `None` after the end. For one reader. Cancellation safe.
    pub(super) async fn next(&self) -> Option<Result<Batch, WatchError>> {
        loop {
            {
                let mut unread = self.unread();
                if let Some(item) = unread.items.pop_front() {
                    if let Ok(batch) = &item {
                        let bytes = unread.bytes - batch.changes.bytes();
                        unread.hold(bytes);
                    }
                    drop(unread);
                    return Some(item.map(UnreadBatch::into_batch));
                }
                if unread.has_ended {
                    return None;
                }
            }
            self.readable.notified().await;
        }
    }
}

impl Unread {
    fn push(&mut self, batch: UnreadBatch) {
        let mut bytes = self.bytes;
        if let Some(Ok(last)) = self.items.back_mut() {
            bytes -= last.changes.bytes();
            last.changes.append(batch.changes);
            last.resume = batch.resume;
            last.skipped += batch.skipped;
            bytes += last.changes.bytes();
        } else {
            bytes += batch.changes.bytes();
            self.items.push_back(Ok(batch));
        }
        self.hold(bytes);
    }

    fn hold(&mut self, bytes: usize) {
        self.bytes = bytes;
        self.meter.set(bytes);
    }
}

impl UnreadBatch {
    fn into_batch(self) -> Batch {
        Batch::new(self.changes.into_list(), self.resume).with_skipped(self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::{Change, Entry, Key};

    fn put(key: &str, bytes: usize) -> Changes {
        let mut changes = Changes::default();
        let key = Key::new(key).unwrap();
        changes.push(Change::Put(Entry::new(key, vec![0; bytes])));
        changes
    }

    fn at(revision: u64) -> Revision {
        Revision::new(revision)
    }

    #[tokio::test]
    async fn what_is_not_read_is_coalesced() {
        let buffer = WatchBuffer::new(1000);
        assert!(buffer.push(put("a", 1), at(1), 1));
        assert!(buffer.push(put("b", 2), at(2), 1));
        let batch = buffer.next().await.unwrap().unwrap();
        assert_eq!(
            (batch.changes.len(), batch.resume, batch.skipped),
            (2, at(2), 2)
        );
    }

    /// hostile row 4
    #[tokio::test]
    async fn a_key_that_is_overwritten_unread_is_kept_once() {
        let buffer = WatchBuffer::new(5000);
        for n in 1..300 {
            let mut changes = put("k", 1000);
            changes.append(put("other", 1000));
            assert!(buffer.push(changes, at(n), 0), "{n}");
        }
        let batch = buffer.next().await.unwrap().unwrap();
        assert_eq!((batch.changes.len(), batch.resume), (2, at(299)));
    }

    #[tokio::test]
    async fn a_disruption_keeps_its_place() {
        let buffer = WatchBuffer::new(1000);
        buffer.push(put("a", 1), at(1), 0);
        buffer.disrupt(Error::unavailable("silence"));
        buffer.push(Changes::default(), at(1), 0);
        assert!(buffer.next().await.unwrap().is_ok());
        assert!(matches!(
            buffer.next().await,
            Some(Err(WatchError::Disrupted(_)))
        ));
        assert!(buffer.next().await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_unread_feed_is_bounded_and_says_so() {
        let buffer = WatchBuffer::new(1000);
        assert!(
            buffer.push(Changes::default(), at(0), 0),
            "the watch stands"
        );
        assert!(
            buffer.push(put("a", 5000), at(1), 0),
            "one batch always fits"
        );
        assert!(!buffer.push(put("b", 1), at(2), 0));
        assert_eq!(buffer.next().await.unwrap().unwrap().resume, at(1));
        assert!(matches!(
            buffer.next().await,
            Some(Err(WatchError::Interrupted(_)))
        ));
        assert!(buffer.next().await.is_none());
    }
}
