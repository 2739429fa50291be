//! What came of what was done.

use super::{Doomed, Item, Lease, Tenancy, UnderWay, Ungranted, Waiting};
use crate::{
    departures::backoff,
    door::Put,
    error,
    ledger::{Entry, Missing},
    telemetry::{self, Counted},
    txn::{Found, Guard, Written},
    work::{Done, Trouble},
};
use sd_core::{Deregistered, Error, LeaseId, Lost, Reclaimed, Registration};
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

/// How often a put is tried again on a key that changes under our hands.
const MOST_TRIES: u32 = 8;
/// How long after an answer etcd has dealt with all that it found at a thaw.
const SETTLED: Duration = Duration::from_secs(1);
/// How long a lease that was asked for without an answer is kept for those who ask again: longer
/// than registrars pause (4 s).
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to leave alone what etcd does not allow us to look at. Meanwhile no deleted key is
/// noticed, and rights may be granted at any time.
const NOT_ALLOWED: Duration = Duration::from_secs(30);

impl Tenancy {
    /// Takes note of what came of the task that was under way.
    pub(crate) fn finish(&mut self, done: Done, now: Instant) {
        let under_way = std::mem::take(&mut self.under_way);
        match (done, under_way) {
            (Done::Granted(lease, result), UnderWay::Grant { again, .. }) => {
                self.granted(lease, again, result, now);
            }
            (Done::Wrote(lease, items, result), UnderWay::Puts(_)) => {
                let puts = items.into_iter().filter_map(|item| match item {
                    Item::Put(waiting, key, guard) => Some((waiting, key, guard)),
                    Item::Leave(..) => None,
                });
                self.put(lease, puts.collect(), result);
            }
            (Done::Wrote(_, items, result), _) => {
                let keys = items.into_iter().filter_map(|item| match item {
                    Item::Leave(key, guard) => Some((key, guard)),
                    Item::Put(..) => None,
                });
                self.left(keys.collect(), result, now);
            }
            (Done::Revoked(_, result), UnderWay::Revocation(doomed)) => {
                self.revoked(doomed, result, now);
            }
            (Done::Verified(lease, result), _) => self.verified(lease, result, now),
            (Done::Examined(lease, known, result), _) => {
                for (missing, found) in known {
                    self.examined(lease, &missing, found);
                }
                // They are missing when the lease is verified next, too.
                if result.is_err() {
                    self.suspects.clear();
                }
            }
            // These are followed by nothing but their answers.
            (Done::Granted(lease, _) | Done::Revoked(lease, _), _) => {
                let granted = true;
                self.doomed.push_back(Doomed { lease, granted });
            }
        }
        for op in std::mem::take(&mut self.deferred) {
            self.accept(op);
        }
    }

    fn granted(&mut self, lease: i64, again: bool, result: Result<(), Trouble>, now: Instant) {
        match result {
            Ok(()) => {}
            // By the request that was not answered.
            Err(Trouble::LeaseExists) if again => {}
            // Somebody else's: another id is drawn.
            Err(Trouble::LeaseExists) => return,
            Err(trouble) => {
                let error = Error::from(trouble);
                if error.is_transient() {
                    let doomed_at = now + PATIENCE;
                    self.ungranted = Some(Ungranted { lease, doomed_at });
                } else if again {
                    // The request before this may have been carried out all the same.
                    let granted = false;
                    self.doomed.push_back(Doomed { lease, granted });
                }
                for waiting in self.queue.drain(..) {
                    waiting.put.answer(Err(error.clone()));
                }
                return;
            }
        }
        tracing::debug!(lease, ttl = %self.ttl, "lease granted");
        self.shared.born(lease);
        self.lease = Some(Lease {
            id: lease,
            verify_at: now + self.ttl.keep_alive_interval(),
            refused: false,
            _counted: Counted::new(telemetry::LEASES),
        });
    }

    /// etcd says that `lease` is gone.
    pub(crate) fn lease_lost(&mut self, lease: i64) {
        if self.lease.take_if(|it| it.id == lease).is_some() {
            self.shared.gone(lease);
            self.suspects.clear();
            let services = self.ledger.lease_lost(lease);
            self.lost_leases.lost(&LeaseId::from(lease), services);
            telemetry::lease_lost();
        }
    }

    fn put(
        &mut self,
        lease: i64,
        puts: Vec<(Waiting, Vec<u8>, Guard)>,
        result: Result<Vec<Written>, Trouble>,
    ) {
        match result {
            Ok(written) => {
                for ((waiting, key, _), written) in puts.into_iter().zip(written) {
                    match written {
                        Written::Done { revision } => {
                            self.registered(waiting.put, key, lease, revision);
                        }
                        Written::Refused(found) => self.refused(waiting, lease, found),
                    }
                }
            }
            Err(Trouble::NoSuchLease) => {
                self.lease_lost(lease);
                for (waiting, ..) in puts.into_iter().rev() {
                    self.try_again(waiting);
                }
            }
            Err(trouble) => {
                let error = Error::from(trouble);
                if !error.is_transient() && puts.len() > 1 {
                    // One of them is at fault; its neighbours are not to suffer.
                    for (mut waiting, ..) in puts.into_iter().rev() {
                        waiting.alone = true;
                        self.queue.push_front(waiting);
                    }
                    return;
                }
                for (waiting, key, guard) in puts {
                    self.not_put(&waiting.put, (key, guard), lease, &error);
                    waiting.put.answer(Err(error.clone()));
                }
            }
        }
    }

    fn registered(&mut self, put: Put, key: Vec<u8>, lease: i64, modified: i64) {
        let service = put.service.clone();
        let claim = (!put.is_unwanted())
            .then(|| self.claims.claim(put.id, service.clone()))
            .flatten();
        match claim {
            Some(claim) => {
                let lease_id = LeaseId::from(lease);
                let name = service.under(&lease_id);
                let (loss, registration) = Registration::channel(name, lease_id, claim);
                let entry = Entry {
                    id: put.id,
                    key,
                    value: put.value.clone(),
                    lease,
                    modified,
                    loss: Some(loss),
                };
                self.hand_over(put, entry, registration);
            }
            None => self.put_for_nobody(put, key, lease, modified),
        }
        // Its keep-alive may have been the first to hear.
        if self.lease() == Some(lease) {
            self.lost_leases.stands(&service, &LeaseId::from(lease));
        } else if let Some(entry) = self.ledger.get_mut(&service) {
            entry.lose(Lost::LeaseExpired);
        }
    }

    fn hand_over(&mut self, put: Put, entry: Entry, registration: Registration) {
        let key = entry.key.clone();
        let mut before = self.ledger.enter(put.service.clone(), entry);
        if let Some(before) = &before {
            self.leave_old_key(before.key.clone(), before.lease, before.guard(), &key);
        }
        match put.reply.send(Ok(Reclaimed::Held(registration))) {
            Ok(()) => {
                if let Some(before) = &mut before {
                    before.lose(Lost::Superseded);
                }
            }
            // Its caller went away this very moment. A reclaimed registration stays with the
            // handle before; a new one goes with its own, which is dropped here.
            Err(unwanted) => {
                if put.reclaims.is_some()
                    && let Some(before) = before
                    && let Some(entry) = self.ledger.get_mut(&put.service)
                {
                    entry.id = before.id;
                    entry.loss = before.loss;
                }
                drop(unwanted);
            }
        }
    }

    /// Nobody waits for the answer: a reclaimed registration belongs to the handle before, anything
    /// else has to go again.
    fn put_for_nobody(&mut self, put: Put, key: Vec<u8>, lease: i64, modified: i64) {
        let stands = Guard::Stands { lease, modified };
        match self.ledger.get_mut(&put.service) {
            Some(entry) if put.reclaims == Some(entry.id) => {
                let guard = entry.guard();
                let old_key = std::mem::replace(&mut entry.key, key.clone());
                let old_lease = std::mem::replace(&mut entry.lease, lease);
                entry.value = put.value;
                entry.modified = modified;
                self.leave_old_key(old_key, old_lease, guard, &key);
            }
            Some(entry) if entry.key == key => {
                // It took the place of an older registration and is not wanted itself.
                entry.lose(Lost::Superseded);
                self.ledger.remove(&put.service);
                self.leave(key, lease, stands, None);
            }
            _ => self.leave(key, lease, stands, None),
        }
    }

    /// A key that its lease completes changes with the lease; the old one may still stand.
    fn leave_old_key(&mut self, old: Vec<u8>, lease: i64, guard: Guard, new: &[u8]) {
        if old != new {
            self.leave(old, lease, guard, None);
        }
    }

    fn refused(&mut self, mut waiting: Waiting, lease: i64, found: Option<Found>) {
        let put = &waiting.put;
        let entry = self.ledger.get_mut(&put.service);
        let mut entry = entry.filter(|entry| put.reclaims == Some(entry.id));
        let before = entry.as_ref().map(|entry| entry.lease);
        waiting.learned = Some(match found {
            None => Guard::Absent,
            // On our lease with another modification: a put of ours that was given up, and was
            // applied all the same.
            Some(found)
                if put.reclaims.is_none()
                    || found.lease == lease
                    || Some(found.lease) == before =>
            {
                found.guard()
            }
            Some(Found { value, .. }) => {
                if let Some(entry) = &mut entry {
                    entry.lose(Lost::taken(value.clone()));
                }
                self.lost_leases.forget(&waiting.put.service);
                return waiting.put.answer(Ok(Reclaimed::taken(value)));
            }
        });
        self.try_again(waiting);
    }

    fn try_again(&mut self, mut waiting: Waiting) {
        waiting.tries += 1;
        if waiting.tries <= MOST_TRIES {
            return self.queue.push_front(waiting);
        }
        let error = error::contended("the key or its lease changes too fast to be put");
        waiting.put.answer(Err(error));
    }

    /// A put failed. If it may have taken effect all the same, or may yet, what it would leave has
    /// to go, unless it would stand where we hold a registration anyway.
    fn not_put(&mut self, put: &Put, (key, guard): (Vec<u8>, Guard), lease: i64, error: &Error) {
        let is_refused = matches!(error, Error::Exhausted { .. }) || !error.is_transient();
        let entry = self.ledger.get(&put.service);
        let is_held = entry.is_some_and(|entry| entry.loss.is_some() && entry.key == key);
        if !is_refused && !is_held {
            self.leave(key.clone(), lease, Guard::Absent, None);
            self.departures.doubt(&key, guard);
        }
    }

    fn left(
        &mut self,
        items: Vec<(Vec<u8>, Guard)>,
        result: Result<Vec<Written>, Trouble>,
        now: Instant,
    ) {
        let error = match result {
            Ok(written) => {
                self.cleanup_backoff = backoff();
                let mut answers = Vec::new();
                for ((key, guard), written) in items.into_iter().zip(written) {
                    let stands = match written {
                        Written::Done { .. } if guard != Guard::Absent => None,
                        Written::Refused(Some(found)) => {
                            if self.departures.learn(&key, &found) {
                                continue;
                            }
                            Some(found.guard())
                        }
                        Written::Done { .. } | Written::Refused(None) => Some(Guard::Absent),
                    };
                    let outcome = match stands {
                        None => Deregistered::Removed,
                        Some(stands) if self.departures.is_doubtful(&key, stands) => {
                            Deregistered::Unconfirmed
                        }
                        Some(_) => Deregistered::NotOurs,
                    };
                    let replies = self.departures.remove(&key);
                    answers.extend(replies.into_iter().map(|reply| (outcome, reply)));
                }
                // Who hears that his service was the last sees no lease any more.
                self.retire_unused_lease();
                for (outcome, reply) in answers {
                    reply.send(Ok(outcome));
                }
                return;
            }
            Err(trouble) => Error::from(trouble),
        };
        let keys: Vec<Vec<u8>> = items.into_iter().map(|(key, _)| key).collect();
        if error.is_transient() {
            self.postpone_cleanup(now);
            self.fail_puts_behind(&keys, &error);
        } else if keys.len() > 1 {
            self.departures.part(keys);
        } else {
            for key in keys {
                tracing::warn!(key = %String::from_utf8_lossy(&key), %error, "key not removed");
                self.departures.fail(&key, &error);
            }
        }
    }

    /// Those who wait to put what is not gone yet hear why.
    fn fail_puts_behind(&mut self, keys: &[Vec<u8>], error: &Error) {
        let lease = self.lease().unwrap_or_default();
        let keys: HashSet<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let queue = std::mem::take(&mut self.queue);
        for waiting in queue {
            let key = self.key(&waiting.put.service, lease);
            if keys.contains(key.as_slice()) {
                waiting.put.answer(Err(error.clone()));
            } else {
                self.queue.push_back(waiting);
            }
        }
    }

    fn revoked(&mut self, doomed: Doomed, result: Result<(), Trouble>, now: Instant) {
        let Doomed { lease, granted } = doomed;
        let trouble = match result {
            // Two requests that etcd finds at a thaw have no order: it may know no such lease now,
            // and grant it a moment later, for all of its TTL (seen on 3.4.23 and 3.6.5).
            Err(Trouble::NoSuchLease) if !granted => {
                let granted = true;
                self.doomed.push_back(Doomed { lease, granted });
                self.cleanup_at = now + SETTLED;
                return;
            }
            Ok(()) | Err(Trouble::NoSuchLease) => {
                self.cleanup_backoff = backoff();
                return;
            }
            Err(trouble) => trouble,
        };
        let error = Error::from(trouble);
        if error.is_transient() {
            self.doomed.push_back(doomed);
        } else {
            tracing::warn!(lease, %error, "lease not revoked; it ends by itself");
        }
        self.postpone_cleanup(now);
    }

    fn verified(
        &mut self,
        lease: i64,
        result: Result<Option<HashSet<Vec<u8>>>, Trouble>,
        now: Instant,
    ) {
        let interval = self.ttl.keep_alive_interval();
        let Some(current) = self.lease.as_mut().filter(|current| current.id == lease) else {
            return;
        };
        current.verify_at = now + interval;
        let was_refused = std::mem::take(&mut current.refused);
        match result {
            Ok(None) => self.lease_lost(lease),
            Ok(Some(keys)) => {
                for stray in self.ledger.strays(&keys) {
                    if !self.departures.contains(&stray) {
                        tracing::warn!(
                            key = %String::from_utf8_lossy(&stray),
                            lease,
                            "removing a key of ours that nobody holds"
                        );
                        telemetry::stray_found();
                        self.leave(stray, lease, Guard::Absent, None);
                    }
                }
                self.suspects = self.ledger.missing(lease, &keys);
            }
            Err(trouble) => {
                let error = Error::from(trouble);
                if !error.is_transient() {
                    if was_refused {
                        tracing::debug!(lease, %error, "registrations still cannot be verified");
                    } else {
                        tracing::warn!(
                            lease, %error,
                            "registrations cannot be verified: deleted keys will not be noticed"
                        );
                    }
                    telemetry::verification_denied();
                    current.refused = true;
                    current.verify_at = now + interval.max(NOT_ALLOWED);
                }
            }
        }
    }

    fn examined(&mut self, lease: i64, missing: &Missing, found: Option<Found>) {
        let Some(entry) = self.ledger.get_mut(&missing.service) else {
            return;
        };
        let key = String::from_utf8_lossy(&missing.key);
        if entry.id != missing.id || entry.lease != lease || entry.loss.is_none() {
            return;
        }
        match found {
            None => {
                // Its owner says so, and what is done about it.
                tracing::debug!(%key, lease, "key deleted by somebody else");
                entry.lose(Lost::KeyDeleted);
            }
            Some(found) if found.lease == lease => {}
            Some(found) => {
                tracing::debug!(%key, lease, "key taken by somebody else");
                entry.lose(Lost::taken(found.value));
            }
        }
    }
}
