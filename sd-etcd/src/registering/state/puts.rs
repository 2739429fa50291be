//! Puts: sent many at a time, and what becomes of them.

use super::{InFlight, MAX_WRITES, SessionState};
use crate::{
    errors,
    registering::{
        actions::{Action, GuardedPut, LeaseError, QueuedPut, WriteBatch},
        contenders::{Contender, Stage},
        ledger::{Decision, Finding, Held},
        own_keys::OwnKey,
        requests::PutRequest,
        service_map::ServiceMap,
        write::{self, Found, Guard, Written},
    },
};
use bytes::Bytes;
use sd_core::{Error, LeaseId, LeaseProof, Lost, Reclaimed, Registration, Result, ServiceKey};

/// How often a put is sent for a key that others keep changing.
const MAX_ATTEMPTS: u32 = 8;

impl SessionState {
    pub(super) fn next_puts(&mut self) -> Option<Action> {
        while self
            .queue
            .front()
            .is_some_and(|put| put.request.is_cancelled())
        {
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            return None;
        }
        let Some(lease) = self.lease() else {
            return Some(self.grant());
        };
        let (puts, contenders) = self.put_batch(lease);
        if puts.is_empty() {
            return None;
        }
        self.in_flight = InFlight::Puts(contenders);
        Some(Action::Write(WriteBatch::Puts { lease, puts }))
    }

    /// Takes the next puts that fit into one transaction, every service once. (Two services have the same key only if
    /// one has the id of this very lease in its name. etcd refuses both then, and each goes by itself.)
    fn put_batch(&mut self, lease: i64) -> (Vec<GuardedPut>, ServiceMap<Contender>) {
        let most = self.queue.len().min(MAX_WRITES);
        let mut puts = Vec::with_capacity(most);
        let mut contenders = ServiceMap::default();
        contenders.reserve(most);
        let mut bytes = 0;
        let mut later = Vec::new();
        while puts.len() < MAX_WRITES
            && let Some(mut put) = self.queue.pop_front()
        {
            if put.request.is_cancelled() {
                continue;
            }
            if contenders.contains_key(&put.request.service) || self.is_to_settle(&put.request) {
                later.push(put);
                continue;
            }
            let key = self.full_key(&put.request.service, lease);
            if self.is_contended(&put.request) {
                let error = errors::contended("a later registration of the service is being put");
                put.request.answer(Err(error));
                continue;
            }
            let decision = self.decide(&put.request, put.learned);
            put.is_look = matches!(decision, Decision::Look(_));
            let guard = match decision {
                Decision::Send(guard) | Decision::Look(guard) => guard,
                Decision::Answer(answer) => {
                    put.request.answer(answer);
                    continue;
                }
                Decision::Keep(modified) => {
                    self.registered(put.request, key, lease, modified);
                    continue;
                }
            };
            if self.removals.contains(&key) {
                later.push(put);
                continue;
            }
            let size = write::max_size(&key, &put.request.value);
            let is_full = put.is_alone || bytes + size > self.options.max_request_bytes / 2;
            if is_full && !puts.is_empty() {
                self.queue.push_front(put);
                break;
            }
            bytes += size;
            let PutRequest { id, service, .. } = &put.request;
            let contender = self
                .shared
                .contenders
                .enter(service.clone(), Stage::Putting, *id);
            contenders.insert(service.clone(), contender);
            let is_alone = put.is_alone;
            puts.push((put, key, guard));
            if is_alone {
                break;
            }
        }
        self.queue.push_all_front(later.into_iter());
        (puts, contenders)
    }

    /// Whether a put of the same service was answered and is still to be settled.
    fn is_to_settle(&self, put: &PutRequest) -> bool {
        let answered = self.answered.as_ref();
        answered.is_some_and(|it| it.contenders.contains_key(&put.service))
    }

    /// Whether another session is putting a newer registration of the service. What it puts must not be
    /// overwritten, and whether it puts anything is not known yet.
    fn is_contended(&self, put: &PutRequest) -> bool {
        let newer = self.shared.contenders.newer_than(&put.service, put.id);
        put.reclaims.is_none() && newer == Some(Stage::Putting)
    }

    // === outcomes ===

    pub(super) fn put(
        &mut self,
        lease: i64,
        puts: Vec<GuardedPut>,
        result: Result<Vec<Written>, LeaseError>,
    ) {
        let error = match result {
            Ok(written) => {
                for ((put, key, _), written) in puts.into_iter().zip(written) {
                    match written {
                        Written::Done { .. } if put.is_look => self.still_taken(put),
                        Written::Done { revision } => {
                            self.registered(put.request, key, lease, revision);
                        }
                        Written::Refused(found) => self.refused(put, lease, found),
                    }
                }
                return;
            }
            Err(LeaseError::NotFound) => {
                self.lease_lost(lease);
                for (put, ..) in puts.into_iter().rev() {
                    self.try_again(put);
                }
                return;
            }
            Err(error) => Error::from(error),
        };
        if !error.is_transient() && puts.len() > 1 {
            // One of them is at fault, and must not fail the others.
            let alone = puts.into_iter().map(|(put, ..)| QueuedPut {
                is_alone: true,
                ..put
            });
            self.queue.push_all_front(alone);
            return;
        }
        for (put, key, guard) in puts {
            if !put.is_look {
                self.not_put(&put.request, key, guard, lease, &error);
            }
            put.request.answer(Err(error.clone()));
        }
    }

    fn registered(&mut self, put: PutRequest, key: Bytes, lease: i64, modified: i64) {
        let service = put.service.clone();
        if put.is_cancelled() {
            self.put_for_nobody(put, key, lease, modified);
        } else {
            self.hand_over(put, key, lease, modified);
        }
        // The keep-alive may have been told first that the lease is gone.
        if self.lease() == Some(lease) {
            self.lost_leases.stands(&service, &LeaseId::from(lease));
        } else if let Some(held) = self.ledger.get_mut(&service) {
            held.lose(Lost::LeaseExpired);
        }
    }

    /// Enters a registration and hands it to its caller.
    fn hand_over(&mut self, put: PutRequest, key: Bytes, lease: i64, modified: i64) {
        let lease_id = LeaseId::from(lease);
        let name = put.service.under(&lease_id);
        let reclaimer = self.requests.reclaimer(&put);
        let (loss, registration) = match self.lease.as_ref().filter(|it| it.id == lease) {
            Some(lease) => Registration::channel(name, lease.proof.proof(), reclaimer),
            // It was lost meanwhile, which is said at once.
            None => Registration::channel(name, &LeaseProof::lasting(lease_id), reclaimer),
        };
        let contenders = &self.shared.contenders;
        let held = Held {
            contender: contenders.enter(put.service.clone(), Stage::Held, put.id),
            owner: put.owner,
            own_key: self.own_key(&put.service, key.clone(), modified),
            key: key.clone(),
            value: put.value.clone(),
            lease,
            modified,
            loss: Some(loss),
            found: None,
            given_up: Vec::new(),
        };
        let mut before = self.ledger.enter(put.service.clone(), held);
        if let Some(before) = &before {
            self.remove_old_key(before, &key);
        }
        match put.reply.send(Ok(Reclaimed::Held(registration))) {
            Ok(()) => {
                if let Some(before) = &mut before {
                    before.lose(Lost::Superseded);
                }
            }
            // The caller has just gone. A reclaimed registration stays with the earlier handle. A new
            // one goes with its own handle, which is dropped here.
            Err(unwanted) => {
                if put.reclaims.is_some()
                    && let Some(before) = before
                    && let Some(held) = self.ledger.get_mut(&put.service)
                {
                    held.contender = before.contender;
                    held.loss = before.loss;
                }
                drop(unwanted);
            }
        }
    }

    /// Handles a put whose caller is gone. A reclaimed registration belongs to the earlier handle.
    /// Anything else is removed again.
    fn put_for_nobody(&mut self, put: PutRequest, key: Bytes, lease: i64, modified: i64) {
        let stands = Guard::Stands { lease, modified };
        let own_key = self.own_key(&put.service, key.clone(), modified);
        match self.ledger.get_mut(&put.service) {
            Some(held) if put.reclaims == Some(held.id()) => {
                held.own_key = own_key;
                let guard = held.guard();
                let owner = Some(held.owner);
                let old_key = std::mem::replace(&mut held.key, key.clone());
                let old_lease = std::mem::replace(&mut held.lease, lease);
                held.value = put.value;
                held.modified = modified;
                held.found = None;
                if old_key != key {
                    self.remove_key(old_key, old_lease, guard, owner, None);
                }
            }
            Some(held) if held.key == key => {
                // It has overwritten an earlier registration.
                held.lose(Lost::Superseded);
                self.ledger.remove(&put.service);
                self.remove_key(key, lease, stands, Some(put.owner), None);
            }
            _ => self.remove_key(key, lease, stands, Some(put.owner), None),
        }
    }

    fn own_key(&self, service: &ServiceKey, key: Bytes, modified: i64) -> OwnKey {
        let sightings = self.requests.sightings.clone();
        let own_keys = &self.shared.own_keys;
        own_keys.enter(key, service.clone(), modified, sightings)
    }

    /// Removes the key from before. A key with its lease's id at the end changes with the lease, and
    /// the old one may still stand.
    fn remove_old_key(&mut self, old: &Held, new: &[u8]) {
        if old.key != new {
            let guard = old.guard();
            self.remove_key(old.key.clone(), old.lease, guard, Some(old.owner), None);
        }
    }

    /// Handles that the key is still taken by the entry that was found before.
    fn still_taken(&mut self, put: QueuedPut) {
        let held = self.ledger.get(&put.request.service);
        let held = held.filter(|held| put.request.reclaims == Some(held.id()));
        match held.and_then(|held| held.found.clone()) {
            Some(found) => put.request.answer(Ok(Reclaimed::taken(found.value))),
            None => self.try_again(put),
        }
    }

    fn refused(&mut self, mut put: QueuedPut, lease: i64, found: Option<Found>) {
        let held = self.ledger.get_mut(&put.request.service);
        let held = held.filter(|held| put.request.reclaims == Some(held.id()));
        put.learned = Some(match (found, held) {
            (None, _) => Guard::Absent,
            (Some(found), None) => found.guard(),
            (Some(found), Some(held)) => match held.finding(&found, Some(lease), &self.shared) {
                Finding::Taken => {
                    let answer = held.taken(found);
                    self.lost_leases.forget(&put.request.service);
                    return put.request.answer(Ok(answer));
                }
                // Or a put of ours that was given up was carried out all the same.
                Finding::Ours | Finding::Overwritten => found.guard(),
                Finding::RolledBack => {
                    self.rolled_back(1);
                    found.guard()
                }
            },
        });
        self.try_again(put);
    }

    fn try_again(&mut self, mut put: QueuedPut) {
        put.attempts += 1;
        if put.attempts <= MAX_ATTEMPTS {
            return self.queue.push_front(put);
        }
        let error = errors::contended("the key or its lease changes too fast to be put");
        put.request.answer(Err(error));
    }

    /// Handles a put that failed. If it may take effect all the same, its key is removed, unless a
    /// registration is held there anyway.
    fn not_put(&mut self, put: &PutRequest, key: Bytes, guard: Guard, lease: i64, error: &Error) {
        let is_refused = matches!(error, Error::Exhausted { .. }) || !error.is_transient();
        let held = self.ledger.get_mut(&put.service);
        let held = held.filter(|held| held.key == key);
        match held {
            _ if is_refused => {}
            Some(held) if !held.is_lost() => held.put_given_up(put.value.clone()),
            _ => {
                self.remove_key(key.clone(), lease, Guard::Absent, Some(put.owner), None);
                self.removals.put_given_up(&key, guard);
            }
        }
    }
}
