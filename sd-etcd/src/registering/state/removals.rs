//! Removals: sent until etcd confirms them.

use super::{InFlight, MAX_WRITES, SessionState};
use crate::{
    registering::{
        actions::{Action, LeaseError, WriteBatch},
        meters,
        requests::RemovalReply,
        write::{Guard, Written},
    },
    support::count,
};
use bytes::Bytes;
use sd_core::{Deregistered, Error, ErrorChain, Escaped, Owner, Result};
use std::collections::HashSet;
use tokio::time::Instant;

impl SessionState {
    /// Removes `key` from `lease`. `guard` is what is believed to stand.
    pub(super) fn remove_key(
        &mut self,
        key: Bytes,
        lease: i64,
        guard: Guard,
        owner: Option<Owner>,
        reply: Option<RemovalReply>,
    ) {
        // It may have been put on the current lease, without an answer, since it was known to be on
        // an older one.
        let current = self.lease();
        let is_current = current.is_some() && self.removals.lease_of(&key) == current;
        let lease = current.filter(|_| is_current).unwrap_or(lease);
        self.removals.add(key, lease, guard, owner, reply);
    }

    /// Returns the next removals. They are sent without puts, so that what is wrong with a put (no
    /// room, no rights) holds up no removal.
    pub(super) fn next_removals(&mut self) -> Option<Action> {
        let max_bytes = self.options.max_request_bytes / 2;
        let removals = self.removals.batch(MAX_WRITES, max_bytes);
        if removals.is_empty() {
            return None;
        }
        self.in_flight = InFlight::Removals;
        Some(Action::Write(WriteBatch::Removals(removals)))
    }

    pub(super) fn removed(
        &mut self,
        removals: Vec<(Bytes, Guard)>,
        result: Result<Vec<Written>, LeaseError>,
        now: Instant,
    ) {
        let error = match result {
            Ok(written) => {
                self.cleanup_backoff.reset();
                let removals = removals.into_iter().zip(written);
                let answers: Vec<_> = removals
                    .filter_map(|((key, guard), written)| self.outcome(&key, guard, written))
                    .flat_map(|(outcome, replies)| replies.into_iter().map(move |it| (outcome, it)))
                    .collect();
                // A caller whose service was the last must see no lease any more.
                self.retire_unused_lease();
                for (outcome, reply) in answers {
                    reply.send(Ok(outcome));
                }
                return;
            }
            Err(error) => Error::from(error),
        };
        let keys: Vec<Bytes> = removals.into_iter().map(|(key, _)| key).collect();
        if error.is_transient() {
            self.postpone_cleanup(now);
            self.fail_puts_behind(&keys, &error);
        } else if keys.len() > 1 {
            self.removals.separate(keys);
        } else {
            for key in keys {
                if self.strays.not_removed(&key) {
                    count(meters::STRAY_KEYS_LEFT, None, 1);
                    let lease = self.removals.lease_of(&key).unwrap_or_default();
                    self.left(lease, &key, 1, now);
                } else {
                    tracing::warn!(key = %Escaped(String::from_utf8_lossy(&key)), error = %ErrorChain(&error), "key not removed");
                }
                self.removals.fail(&key, &error);
            }
        }
    }

    /// Returns the outcome of a removal and the callers that wait for it, or `None` if it has to be
    /// sent again.
    fn outcome(
        &mut self,
        key: &[u8],
        guard: Guard,
        written: Written,
    ) -> Option<(Deregistered, Vec<RemovalReply>)> {
        let stands = match written {
            Written::Done { .. } if guard != Guard::Absent => None,
            Written::Refused(Some(found)) if self.removals.learn(key, &found) => return None,
            Written::Refused(Some(found)) => Some(found.guard()),
            Written::Done { .. } | Written::Refused(None) => Some(Guard::Absent),
        };
        let outcome = match stands {
            None => Deregistered::Removed,
            Some(stands) if self.removals.may_be_put(key, stands) => Deregistered::Unconfirmed,
            Some(_) => Deregistered::NotOurs,
        };
        Some((outcome, self.removals.remove(key)))
    }

    fn fail_puts_behind(&mut self, keys: &[Bytes], error: &Error) {
        let lease = self.lease().unwrap_or_default();
        let keys: HashSet<_> = keys.iter().collect();
        for put in self.queue.drain() {
            let key = self.full_key(&put.request.service, lease);
            if keys.contains(&key) {
                put.request.answer(Err(error.clone()));
            } else {
                self.queue.push_back(put);
            }
        }
    }
}
