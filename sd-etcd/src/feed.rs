//! A feed: what a watch has not read yet.
//!
//! The stream that all watches share must never wait for one of them: three watches that nobody
//! reads, 6 MiB each, hang every call on their connection. So what nobody has read is kept here,
//! coalesced and bounded; a reader that lets it overflow is interrupted and goes on from where it
//! was.

use sd_core::{Batch, Change, Error, Revision, WatchError};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Disruptions that a reader slept through, beyond which it may as well start over.
const MOST_ITEMS: usize = 16;
/// What a change weighs beside its key and value.
const CHANGE: usize = 64;

pub(crate) struct Feed {
    unread: Mutex<Unread>,
    news: Notify,
    limit: usize,
}

#[derive(Default)]
struct Unread {
    /// With their bytes.
    items: VecDeque<(Result<Batch, WatchError>, usize)>,
    bytes: usize,
    ended: bool,
}

impl Feed {
    /// A feed that holds up to about `limit` bytes, or one batch of any size.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            unread: Mutex::default(),
            news: Notify::new(),
            limit,
        }
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch. `false` if there was no room: the feed has ended then.
    pub(crate) fn push(&self, changes: Vec<Change>, resume: Revision, skipped: u64) -> bool {
        let bytes: usize = changes.iter().map(size).sum();
        let fits = {
            let mut unread = self.unread();
            let fits = unread.items.is_empty() || unread.bytes + bytes <= self.limit;
            if fits && !unread.ended {
                unread.bytes += bytes;
                if let Some((Ok(last), weight)) = unread.items.back_mut() {
                    last.changes.extend(changes);
                    last.resume = resume;
                    last.skipped += skipped;
                    *weight += bytes;
                } else {
                    let mut batch = Batch::new(changes, resume);
                    batch.skipped = skipped;
                    unread.items.push_back((Ok(batch), bytes));
                }
            }
            fits && unread.items.len() <= MOST_ITEMS
        };
        if fits {
            self.news.notify_one();
        } else {
            // This watch's alone, so whoever reads it is to say so.
            self.end(WatchError::Interrupted(Error::Backend {
                message: "the watch was not read for too long".into(),
                transient: true,
                source: None,
            }));
        }
        fits
    }

    /// Says that the registry does not answer.
    pub(crate) fn disrupt(&self, error: Error) {
        let mut unread = self.unread();
        if !unread.ended {
            unread
                .items
                .push_back((Err(WatchError::Disrupted(error)), 0));
            drop(unread);
            self.news.notify_one();
        }
    }

    /// Ends the feed with `error`; what was added before is still read first, unless that is what
    /// overflowed.
    pub(crate) fn end(&self, error: WatchError) {
        let mut unread = self.unread();
        if !unread.ended {
            unread.ended = true;
            unread.items.push_back((Err(error), 0));
            drop(unread);
            self.news.notify_one();
        }
    }

    /// The next item; `None` after the end. For one reader. Cancellation safe.
    pub(crate) async fn next(&self) -> Option<Result<Batch, WatchError>> {
        loop {
            {
                let mut unread = self.unread();
                if let Some((item, bytes)) = unread.items.pop_front() {
                    unread.bytes -= bytes;
                    return Some(item);
                }
                if unread.ended {
                    return None;
                }
            }
            self.news.notified().await;
        }
    }
}

fn size(change: &Change) -> usize {
    CHANGE + change.key().as_str().len() + change.value().map_or(0, |value| value.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::{Entry, Key};

    fn put(bytes: usize) -> Vec<Change> {
        let key = Key::new("k").unwrap();
        vec![Change::Put(Entry::new(key, vec![0; bytes]))]
    }

    fn at(revision: u64) -> Revision {
        Revision::new(revision)
    }

    #[tokio::test]
    async fn what_is_not_read_is_coalesced() {
        let feed = Feed::new(1000);
        assert!(feed.push(put(1), at(1), 1));
        assert!(feed.push(put(2), at(2), 1));
        let batch = feed.next().await.unwrap().unwrap();
        assert_eq!(
            (batch.changes.len(), batch.resume, batch.skipped),
            (2, at(2), 2)
        );
    }

    #[tokio::test]
    async fn a_disruption_keeps_its_place() {
        let feed = Feed::new(1000);
        feed.push(put(1), at(1), 0);
        feed.disrupt(Error::unavailable("silence"));
        feed.push(Vec::new(), at(1), 0);
        assert!(feed.next().await.unwrap().is_ok());
        assert!(matches!(
            feed.next().await,
            Some(Err(WatchError::Disrupted(_)))
        ));
        assert!(feed.next().await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_unread_feed_is_bounded_and_says_so() {
        let feed = Feed::new(1000);
        assert!(feed.push(put(5000), at(1), 0), "one batch always fits");
        assert!(!feed.push(put(1), at(2), 0));
        assert_eq!(feed.next().await.unwrap().unwrap().resume, at(1));
        assert!(matches!(
            feed.next().await,
            Some(Err(WatchError::Interrupted(_)))
        ));
        assert!(feed.next().await.is_none());
    }
}
