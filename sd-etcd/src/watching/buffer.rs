//! What the reader of a watch has not read yet.
//!
//! The stream that all watches share never waits for a reader: three watches that nobody reads, 6 MiB
//! each, hang every call on their connection. So unread changes are kept here, coalesced and bounded: a put
//! replaces what came before it under its key.
//! A reader that lets its buffer overflow is interrupted, and resumes from where it was.

use sd_core::{Batch, Change, Error, Key, Revision, WatchError};
use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// More items than this, which are alternating disruptions and batches, count as an overflow.
const MAX_ITEMS: usize = 16;
/// The size of a change without its key and value, in bytes.
const CHANGE_BYTES: usize = size_of::<Change>();

pub(super) struct WatchBuffer {
    unread: Mutex<Unread>,
    readable: Notify,
    max_bytes: usize,
}

#[derive(Default)]
struct Unread {
    /// The items, with their size in bytes.
    items: VecDeque<(Result<Batch, WatchError>, usize)>,
    bytes: usize,
    has_ended: bool,
}

impl WatchBuffer {
    /// Creates a buffer for about `max_bytes`, or for one batch of any size.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            unread: Mutex::default(),
            readable: Notify::new(),
            max_bytes,
        }
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch. Returns `false` if it does not fit, which ends the buffer.
    pub(super) fn push(&self, mut changes: Vec<Change>, resume: Revision, skipped: u64) -> bool {
        coalesce(&mut changes);
        let bytes: usize = changes.iter().map(size).sum();
        let fits = {
            let mut unread = self.unread();
            let mut fits = unread.bytes == 0 || unread.bytes + bytes <= self.max_bytes;
            if !fits {
                unread.coalesce();
                // Less, so that it is not done again for the next change.
                fits = unread.bytes + bytes <= self.max_bytes / 2;
            }
            if fits && !unread.has_ended {
                unread.bytes += bytes;
                if let Some((Ok(last), last_bytes)) = unread.items.back_mut() {
                    last.changes.extend(changes);
                    last.resume = resume;
                    last.skipped += skipped;
                    *last_bytes += bytes;
                } else {
                    let mut batch = Batch::new(changes, resume);
                    batch.skipped = skipped;
                    unread.items.push_back((Ok(batch), bytes));
                }
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
            unread.items.push_back((Err(error), 0));
            drop(unread);
            self.readable.notify_one();
        }
    }

    /// Returns the next item, or `None` after the end. For one reader. Cancellation safe.
    pub(super) async fn next(&self) -> Option<Result<Batch, WatchError>> {
        loop {
            {
                let mut unread = self.unread();
                if let Some((item, bytes)) = unread.items.pop_front() {
                    unread.bytes -= bytes;
                    return Some(item);
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
    fn coalesce(&mut self) {
        for (item, bytes) in &mut self.items {
            if let Ok(batch) = item {
                coalesce(&mut batch.changes);
                self.bytes -= *bytes;
                *bytes = batch.changes.iter().map(size).sum();
                self.bytes += *bytes;
            }
        }
    }
}

/// Leaves out what a later put replaces. What was put before a deletion stays: it may have announced it.
fn coalesce(changes: &mut Vec<Change>) {
    if changes.len() < 2 {
        return;
    }
    let (mut put, mut deleted) = (HashSet::<Key>::new(), HashSet::<Key>::new());
    let is_last = |change: &Change| match change.value() {
        Some(_) => put.insert(change.key().clone()),
        None => !put.contains(change.key()) && deleted.insert(change.key().clone()),
    };
    let mut kept: Vec<bool> = changes.iter().rev().map(is_last).collect();
    changes.retain(|_| kept.pop().unwrap_or(true));
}

fn size(change: &Change) -> usize {
    let value = change.value().map_or(0, |value| value.len());
    CHANGE_BYTES + change.key().as_str().len() + value
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::Entry;

    fn put(bytes: usize) -> Vec<Change> {
        let key = Key::new("k").unwrap();
        vec![Change::Put(Entry::new(key, vec![0; bytes]))]
    }

    fn at(revision: u64) -> Revision {
        Revision::new(revision)
    }

    #[tokio::test]
    async fn what_is_not_read_is_coalesced() {
        let buffer = WatchBuffer::new(1000);
        assert!(buffer.push(put(1), at(1), 1));
        assert!(buffer.push(put(2), at(2), 1));
        let batch = buffer.next().await.unwrap().unwrap();
        assert_eq!(
            (batch.changes.len(), batch.resume, batch.skipped),
            (2, at(2), 2)
        );
    }

    /// Hostile row 4: in one message and in many.
    #[tokio::test]
    async fn a_key_that_is_overwritten_unread_is_kept_once() {
        let buffer = WatchBuffer::new(5000);
        let other = || Change::Delete(Key::new("other").unwrap());
        for n in 1..300 {
            let mut changes = [put(1000), put(1000)].concat();
            changes.insert(1, other());
            assert!(buffer.push(changes, at(n), 0), "{n}");
        }
        let batch = buffer.next().await.unwrap().unwrap();
        assert!(batch.changes.len() < 10 && batch.resume == at(299));

        let [put, delete] = [put(1), vec![Change::Delete(Key::new("k").unwrap())]];
        let mut changes = [put.clone(), delete.clone(), put.clone(), delete.clone()].concat();
        coalesce(&mut changes);
        assert_eq!(changes, [put, delete].concat());
    }

    #[tokio::test]
    async fn a_disruption_keeps_its_place() {
        let buffer = WatchBuffer::new(1000);
        buffer.push(put(1), at(1), 0);
        buffer.disrupt(Error::unavailable("silence"));
        buffer.push(Vec::new(), at(1), 0);
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
        assert!(buffer.push(Vec::new(), at(0), 0), "the watch stands");
        assert!(buffer.push(put(5000), at(1), 0), "one batch always fits");
        assert!(!buffer.push(put(1), at(2), 0));
        assert_eq!(buffer.next().await.unwrap().unwrap().resume, at(1));
        assert!(matches!(
            buffer.next().await,
            Some(Err(WatchError::Interrupted(_)))
        ));
        assert!(buffer.next().await.is_none());
    }
}
