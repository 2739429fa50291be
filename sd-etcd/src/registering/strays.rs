//! Keys on a lease of ours that no registration has.
//!
//! One may be a put of ours that was given up and took effect all the same: it is removed. But the id of
//! the lease can be read, so that others may hang on it what they like. So no key is removed again and
//! again, none that does not fit into a request or that etcd does not let us remove is tried again, and
//! what remains is told about, not fought. It ends with the lease.

use super::write;
use bytes::Bytes;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::time::Instant;

/// How long a key is remembered.
const MEMORY: Duration = Duration::from_secs(60 * 60);
/// How often a key is removed within that time.
const MAX_REMOVALS: u8 = 8;
/// How many keys are remembered, by a hash. Further ones are left.
const MAX_KEYS: usize = 4096;
/// The shortest time between two log lines that say the same.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// What becomes of the keys that nobody holds. Without I/O.
#[derive(Debug, Default)]
pub(super) struct Strays {
    known: HashMap<u64, Stray>,
    hasher: RandomState,
    pub(super) removed: Notices,
    pub(super) left: Notices,
}

#[derive(Debug)]
struct Stray {
    since: Instant,
    removals: u8,
    is_left: bool,
}

/// What is to be said of the keys of one verification.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) to_remove: Vec<Bytes>,
    /// Those that are left from now on.
    pub(super) newly_left: Vec<Bytes>,
}

impl Strays {
    /// Decides what to do about `keys`. A request has `max_request_bytes` at most.
    pub(super) fn judge(
        &mut self,
        keys: Vec<Bytes>,
        max_request_bytes: usize,
        now: Instant,
    ) -> Judged {
        self.known.retain(|_, stray| now - stray.since < MEMORY);
        let mut judged = Judged::default();
        for key in keys {
            let hash = self.hasher.hash_one(&key);
            if self.known.len() >= MAX_KEYS && !self.known.contains_key(&hash) {
                continue;
            }
            let stray = self.known.entry(hash).or_insert(Stray {
                since: now,
                removals: 0,
                is_left: false,
            });
            if stray.is_left {
                continue;
            }
            let fits = write::max_size(&key, &[]) <= max_request_bytes;
            if fits && stray.removals < MAX_REMOVALS {
                stray.removals += 1;
                judged.to_remove.push(key);
            } else {
                stray.is_left = true;
                judged.newly_left.push(key);
            }
        }
        judged
    }

    /// Notes that etcd does not let us remove `key`. Returns whether it is one of these keys.
    pub(super) fn not_removed(&mut self, key: &[u8]) -> bool {
        let stray = self.known.get_mut(&self.hasher.hash_one(key));
        stray.map(|stray| stray.is_left = true).is_some()
    }
}

/// Log lines of one kind: one a minute, which counts what was not said since the last.
#[derive(Debug, Default)]
pub(super) struct Notices {
    said_at: Option<Instant>,
    unsaid: usize,
}

impl Notices {
    /// Notes `keys` more. Returns how many to speak of, if it is time to speak.
    pub(super) fn add(&mut self, keys: usize, now: Instant) -> Option<usize> {
        self.unsaid += keys;
        let is_time = self.said_at.is_none_or(|at| now - at >= LOG_PAUSE);
        if keys == 0 || !is_time {
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_REQUEST: usize = 10_000;

    fn judge(strays: &mut Strays, keys: &[&str], now: Instant) -> (usize, usize) {
        let keys = keys.iter().map(|key| Bytes::from(key.to_string()));
        let keys = keys.collect();
        let judged = strays.judge(keys, MAX_REQUEST, now);
        (judged.to_remove.len(), judged.newly_left.len())
    }

    /// hostile row 2
    #[test]
    fn a_key_that_comes_again_and_again_is_left_for_an_hour() {
        let mut strays = Strays::default();
        let now = Instant::now();
        let removals = (0..100).map(|_| judge(&mut strays, &["a"], now));
        let (removed, left) = removals.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        assert_eq!((removed, left), (usize::from(MAX_REMOVALS), 1));
        assert_eq!(judge(&mut strays, &["a"], now + MEMORY), (1, 0));
    }

    /// hostile row 2
    #[test]
    fn what_cannot_be_removed_is_not_tried_again() {
        let mut strays = Strays::default();
        let now = Instant::now();
        let large = "x".repeat(MAX_REQUEST);
        assert_eq!(judge(&mut strays, &[&large], now), (0, 1));
        assert_eq!(judge(&mut strays, &[&large, "denied"], now), (1, 0));
        assert!(strays.not_removed(b"denied"));
        assert!(!strays.not_removed(b"a removal of somebody"));
        assert_eq!(judge(&mut strays, &[&large, "denied"], now), (0, 0));
    }

    /// hostile row 2
    #[test]
    fn what_is_remembered_and_said_is_bounded() {
        let mut strays = Strays::default();
        let now = Instant::now();
        let (mut removed, mut lines, mut said) = (0, 0, 0);
        for n in 0..10_000_u64 {
            let now = now + Duration::from_millis(n);
            let (to_remove, _) = judge(&mut strays, &[&n.to_string()], now);
            removed += to_remove;
            if let Some(keys) = strays.removed.add(to_remove, now) {
                (lines, said) = (lines + 1, said + keys);
            }
        }
        assert_eq!((removed, lines, said), (MAX_KEYS, 1, 1));
        let later = now + MEMORY * 2;
        assert_eq!(strays.removed.add(0, later), None, "nothing is new");
        assert_eq!(strays.removed.add(1, later), Some(MAX_KEYS));
    }
}
