//! What is to be done next.

use super::{Doomed, Item, Lease, Tenancy, UnderWay, Verdict};
use crate::{
    txn::{self, Write},
    work::Task,
};
use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};
use tokio::time::Instant;

/// Writes in one transaction; etcd takes 128 by default, and 127 that are guarded.
const BATCH: usize = 100;

impl Tenancy {
    /// What to do next, if nothing is under way: what has to go before what is to come.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Task> {
        if !matches!(self.under_way, UnderWay::Nothing) {
            return None;
        }
        self.since = now;
        let cleanup_is_due = now >= self.cleanup_at;
        if cleanup_is_due && let Some(task) = self.removals() {
            return Some(task);
        }
        if let Some(task) = self.puts() {
            return Some(task);
        }
        self.retire_unused_lease();
        if let Some(ungranted) = self.ungranted.take_if(|it| now >= it.doomed_at) {
            self.doomed.push_back(Doomed {
                lease: ungranted.lease,
                granted: false,
            });
        }
        if cleanup_is_due && let Some(task) = self.revocation() {
            return Some(task);
        }
        self.look(now)
    }

    /// By themselves, so that what is wrong with a put (no room, no rights) holds up no removal.
    fn removals(&mut self) -> Option<Task> {
        let batch = self
            .departures
            .batch(BATCH, self.config.max_request_bytes / 2);
        if batch.is_empty() {
            return None;
        }
        self.under_way = UnderWay::Removals;
        let (items, writes) = batch
            .into_iter()
            .map(|(key, guard)| {
                let write = Write::Delete {
                    key: key.clone(),
                    guard,
                };
                (Item::Leave(key, guard), write)
            })
            .unzip();
        Some(Task::Write {
            lease: self.lease().unwrap_or_default(),
            items,
            writes,
        })
    }

    fn puts(&mut self) -> Option<Task> {
        while self.queue.front().is_some_and(|it| it.put.is_unwanted()) {
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            return None;
        }
        let Some(lease) = self.lease() else {
            let again = self.ungranted.is_some();
            let ungranted = self.ungranted.take().map(|it| it.lease);
            let lease = ungranted.unwrap_or_else(fresh_lease);
            self.under_way = UnderWay::Grant { lease, again };
            let ttl = self.ttl;
            return Some(Task::Grant { lease, ttl });
        };
        let (items, writes) = self.batch(lease);
        if items.is_empty() {
            return None;
        }
        let services = items.iter().filter_map(|item| match item {
            Item::Put(waiting, ..) => Some(waiting.put.service.clone()),
            Item::Leave(..) => None,
        });
        self.under_way = UnderWay::Puts(services.collect());
        Some(Task::Write {
            lease,
            items,
            writes,
        })
    }

    /// The next puts that fit into one transaction, every key once.
    fn batch(&mut self, lease: i64) -> (Vec<Item>, Vec<Write>) {
        let (mut items, mut writes) = (Vec::new(), Vec::new());
        let mut keys = HashSet::new();
        let mut bytes = 0;
        let mut later = VecDeque::new();
        while items.len() < BATCH
            && let Some(waiting) = self.queue.pop_front()
        {
            if waiting.put.is_unwanted() {
                continue;
            }
            let guard = match self.judge(&waiting.put, waiting.learned) {
                Verdict::Send(guard) => guard,
                Verdict::Answer(answer) => {
                    waiting.put.answer(answer);
                    continue;
                }
            };
            let key = self.key(&waiting.put.service, lease);
            if self.departures.contains(&key) || keys.contains(&key) {
                later.push_back(waiting);
                continue;
            }
            let size = txn::size(&key, &waiting.put.value);
            let is_full = waiting.alone || bytes + size > self.config.max_request_bytes / 2;
            if is_full && !items.is_empty() {
                self.queue.push_front(waiting);
                break;
            }
            bytes += size;
            keys.insert(key.clone());
            writes.push(Write::Put {
                key: key.clone(),
                value: waiting.put.value.clone(),
                lease,
                guard,
            });
            let is_alone = waiting.alone;
            items.push(Item::Put(waiting, key, guard));
            if is_alone {
                break;
            }
        }
        later.append(&mut self.queue);
        self.queue = later;
        (items, writes)
    }

    pub(super) fn retire_unused_lease(&mut self) {
        if !self.queue.is_empty() || !self.ledger.is_empty() || !self.departures.is_empty() {
            return;
        }
        if let Some(lease) = self.lease.take() {
            self.shared.gone(lease.id);
            self.doomed.push_back(Doomed {
                lease: lease.id,
                granted: true,
            });
        }
    }

    fn revocation(&mut self) -> Option<Task> {
        let doomed = self.doomed.pop_front()?;
        self.under_way = UnderWay::Revocation(doomed);
        let lease = doomed.lease;
        Some(Task::Revoke { lease })
    }

    fn look(&mut self, now: Instant) -> Option<Task> {
        let Lease { id, verify_at, .. } = *self.lease.as_ref()?;
        let task = if !self.suspects.is_empty() {
            let some = self.suspects.len().min(BATCH);
            let missing = self.suspects.drain(..some).collect();
            Task::Examine { lease: id, missing }
        } else if now >= verify_at {
            Task::Verify { lease: id }
        } else {
            return None;
        };
        self.under_way = UnderWay::Look;
        Some(task)
    }

    /// Whether what is under way is to be dropped for something more urgent. It is forgotten then.
    pub(crate) fn is_interrupted(&mut self, now: Instant) -> bool {
        let is_urgent = self.departures.is_awaited() && now >= self.cleanup_at;
        let is_interrupted = matches!(self.under_way, UnderWay::Look) && is_urgent;
        if is_interrupted {
            self.under_way = UnderWay::Nothing;
        }
        is_interrupted
    }
}

/// An id that nobody else draws, on any machine: two clients on one lease would revoke each
/// other's services.
fn fresh_lease() -> i64 {
    let seed = RandomState::new().hash_one(std::process::id());
    fastrand::Rng::with_seed(seed).i64(1..i64::MAX)
}
