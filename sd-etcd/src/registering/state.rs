//! The state of a session: all services of one client and one TTL, on one lease. Without I/O.
//!
//! It is told what is asked for, what came of the last action, and the time. It returns the next
//! action. One action is in flight at a time, so no put overtakes a deregistration. What many
//! services want at once goes out 125 to a transaction, whose callers are told while the next one is on
//! its way.
//!
//! A request that was not answered may still be carried out, after a thaw of the server. So nothing
//! is forgotten until etcd confirms it:
//!
//! - The session draws the id of its lease, and revokes it even if the grant was never answered.
//! - A key that has to go is deleted again and again, until etcd says that it is gone.
//! - What others change under its keys is read at once, where a watch tells of it.
//! - Whenever the lease is verified, keys on it that are not in the ledger are removed, and those that
//!   are and have another modification than ours are found.
//!
//! A late request must not undo a newer one either. So every write is guarded by what is believed to
//! stand under its key. If that was wrong, the write is sent again with what etcd says. By that a new
//! service costs one request, and one that takes over the key of an earlier process two. A put is not
//! sent, or sent again, if a newer registration of its service is there, in whatever session.

mod leases;
#[cfg(test)]
mod model;
mod puts;
mod queue;
mod removals;
mod requests;
mod sightings;
#[cfg(test)]
mod tests;
mod verification;

use self::{
    leases::{Lease, PendingGrant, Revocation},
    queue::PutQueue,
    sightings::Sighted,
};
use super::{
    actions::{Action, Completion, GuardedPut, WriteBatch},
    contenders::Contender,
    ledger::{HeldKey, Ledger},
    removals::PendingRemovals,
    requests::{RemovalReply, Request, Requests},
    service_map::ServiceMap,
    shared::Shared,
    strays::Strays,
    write::Written,
};
use crate::{config::Options, support::retry_backoff};
use bytes::Bytes;
use sd_core::{Backoff, Deregistered, Error, LeaseId, Lost, LostLeases, ServiceKey, Ttl};
use std::{collections::VecDeque, sync::Arc};
use tokio::time::Instant;

/// Writes in one transaction. etcd takes 128 by default, and 127 that are guarded.
const MAX_WRITES: usize = 125;

pub(super) struct SessionState {
    options: Arc<Options>,
    shared: Arc<Shared>,
    /// For the handles of the registrations.
    requests: Requests,
    ttl: Ttl,
    /// The puts that wait.
    queue: PutQueue,
    ledger: Ledger,
    removals: PendingRemovals,
    lease: Option<Lease>,
    lost_leases: LostLeases,
    /// A lease whose grant was not answered. It is asked for again under the same id, so that an
    /// outage leaves at most one behind. If nobody asks again, it is revoked.
    pending_grant: Option<PendingGrant>,
    revocations: VecDeque<Revocation>,
    /// What is still to be compared with the registry in this verification.
    uncompared: Vec<HeldKey>,
    /// What was not as we wrote it, and is to be read.
    changed: Vec<HeldKey>,
    sighted: Sighted,
    strays: Strays,
    /// When a log line last said that the registry's history went back.
    rollback_logged_at: Option<Instant>,
    in_flight: InFlight,
    answered: Option<AnsweredPuts>,
    /// When the action in flight was started.
    started_at: Instant,
    /// Requests about services whose put is in flight.
    deferred: Vec<Request>,
    /// When removals and revocations go on after a failure.
    cleanup_at: Instant,
    cleanup_backoff: Backoff,
}

#[derive(Default)]
enum InFlight {
    #[default]
    Nothing,
    Grant {
        lease: i64,
        /// The lease was asked for before.
        is_repeated: bool,
    },
    /// Puts of these services.
    Puts(ServiceMap<Contender>),
    Removals,
    Revocation(Revocation),
    /// A verification or an examination. It is abandoned for what is more urgent.
    Read,
    /// The question whether the lease is there, since own keys have changed. Abandoned likewise.
    Look,
}

/// Puts behind which others wait: those are sent before the callers of these are told.
struct AnsweredPuts {
    lease: i64,
    puts: Vec<GuardedPut>,
    written: Vec<Written>,
    contenders: ServiceMap<Contender>,
}

impl SessionState {
    /// Creates the state of the session that receives `requests`.
    pub(super) fn new(requests: Requests, ttl: Ttl, now: Instant) -> Self {
        Self {
            options: requests.options.clone(),
            shared: requests.shared.clone(),
            requests,
            ttl,
            queue: PutQueue::default(),
            ledger: Ledger::default(),
            removals: PendingRemovals::default(),
            lease: None,
            lost_leases: LostLeases::default(),
            pending_grant: None,
            revocations: VecDeque::new(),
            uncompared: Vec::new(),
            changed: Vec::new(),
            sighted: Sighted::new(ttl, now),
            strays: Strays::default(),
            rollback_logged_at: None,
            in_flight: InFlight::Nothing,
            answered: None,
            started_at: now,
            deferred: Vec::new(),
            cleanup_at: now,
            cleanup_backoff: retry_backoff(),
        }
    }

    /// Returns the lease that has to be kept alive.
    pub(super) fn lease(&self) -> Option<i64> {
        self.lease.as_ref().map(|lease| lease.id)
    }

    /// Returns the key, with its namespace, of a service on `lease`.
    fn full_key(&self, service: &ServiceKey, lease: i64) -> Bytes {
        let key = service.under(&LeaseId::from(lease));
        self.options.namespace.full(key.as_str()).into()
    }

    // === actions ===

    /// Returns the next action, if none is in flight: removals before puts before everything else.
    pub(super) fn next(&mut self, now: Instant) -> Option<Action> {
        if !matches!(self.in_flight, InFlight::Nothing) {
            return None;
        }
        self.started_at = now;
        let is_cleanup_due = now >= self.cleanup_at;
        if is_cleanup_due && let Some(action) = self.next_removals() {
            return Some(action);
        }
        if let Some(action) = self.next_puts() {
            return Some(action);
        }
        if self.is_unsettled() {
            self.settle();
            return self.next(now);
        }
        self.retire_unused_lease();
        self.expire_pending_grant(now);
        if is_cleanup_due && let Some(action) = self.next_revocation() {
            return Some(action);
        }
        self.next_read(now)
    }

    /// Handles the outcome of the action in flight; that of puts behind which others wait only with
    /// [`settle`](Self::settle).
    pub(super) fn complete(&mut self, completion: Completion, now: Instant) {
        self.settle();
        let in_flight = std::mem::take(&mut self.in_flight);
        match (completion, in_flight) {
            (
                Completion::Wrote(WriteBatch::Puts { lease, puts }, Ok(written)),
                InFlight::Puts(contenders),
            ) if !self.queue.is_empty() => {
                self.answered = Some(AnsweredPuts {
                    lease,
                    puts,
                    written,
                    contenders,
                });
            }
            (Completion::Granted(lease, result), InFlight::Grant { is_repeated, .. }) => {
                self.granted(lease, is_repeated, result, now);
            }
            (Completion::Wrote(WriteBatch::Puts { lease, puts }, result), _) => {
                self.put(lease, puts, result);
            }
            (Completion::Wrote(WriteBatch::Removals(removals), result), _) => {
                self.removed(removals, result, now);
            }
            (Completion::Revoked(_, result), InFlight::Revocation(revocation)) => {
                self.revoked(revocation, result, now);
            }
            (Completion::Verified(lease, result), InFlight::Look) => {
                self.looked(lease, result, now);
            }
            (Completion::Verified(lease, result), _) => self.verified(lease, result, now),
            (Completion::Compared(lease, changed, result), _) => {
                self.compared(lease, changed, result, now);
            }
            (Completion::Examined(lease, examined, result), _) => {
                self.examined(lease, examined, result, now);
            }
            // These do not happen: no other action is in flight then.
            (Completion::Granted(lease, _) | Completion::Revoked(lease, _), _) => {
                self.revoke(lease, true);
            }
        }
        for request in std::mem::take(&mut self.deferred) {
            self.accept(request);
        }
    }

    /// Whether there is something to [`settle`](Self::settle).
    pub(super) fn is_unsettled(&self) -> bool {
        self.answered.is_some()
    }

    /// Tells the callers of puts what has become of them. To be called when the [`next`](Self::next) action has been
    /// started. Requests, completions, the loss of the lease and the end settle by themselves first.
    pub(super) fn settle(&mut self) {
        if let Some(AnsweredPuts {
            lease,
            puts,
            written,
            contenders,
        }) = self.answered.take()
        {
            self.put(lease, puts, Ok(written));
            drop(contenders);
        }
    }

    // === time ===

    /// Returns when to call [`tick`](Self::tick) and [`next`](Self::next) at the latest.
    pub(super) fn timer(&self) -> Option<Instant> {
        let is_idle = matches!(self.in_flight, InFlight::Nothing);
        let is_clean = self.removals.is_empty() && self.revocations.is_empty();
        let cleanup = (is_idle && !is_clean).then_some(self.cleanup_at);
        let grant = self.pending_grant.filter(|_| is_idle);
        let revoke = grant.map(|grant| grant.revoke_at.max(self.cleanup_at));
        let lease = self.lease.as_ref().filter(|_| is_idle);
        let verify = lease.map(|lease| lease.verify_at);
        let look = self.sighted.timer().filter(|_| is_idle);
        let timers = [cleanup, revoke, verify, look, self.deadline()];
        timers.into_iter().flatten().min()
    }

    /// Returns the earliest deadline of a deregistration.
    fn deadline(&self) -> Option<Instant> {
        let deferred = self.deferred.iter().filter_map(|request| match request {
            Request::Remove { reply, .. } | Request::RemoveUnleased { reply, .. } => {
                reply.as_ref().map(|reply| reply.deadline)
            }
            Request::Put(_) | Request::Dropped { .. } => None,
        });
        deferred.chain(self.removals.deadline()).min()
    }

    /// Returns when to give up the action in flight, so that another member can still be asked for a
    /// removal in time.
    ///
    /// A put that was given up may take effect later. An update then finds another modification or
    /// nothing, and does nothing. A removal that finds what the put was to find (nothing, or the
    /// entry of somebody else) answers that it is not confirmed.
    pub(super) fn give_up_at(&self) -> Option<Instant> {
        match self.in_flight {
            InFlight::Grant { .. } | InFlight::Puts(_) => {
                let short = self.options.short_timeout();
                Some((self.deadline()? - short).max(self.started_at + short))
            }
            // These have a short timeout.
            InFlight::Removals | InFlight::Revocation(_) => None,
            InFlight::Read | InFlight::Look | InFlight::Nothing => None,
        }
    }

    /// Answers the callers whose deadline has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        for request in &mut self.deferred {
            if let Request::Remove { reply, .. } | Request::RemoveUnleased { reply, .. } = request
                && let Some(reply) = reply.take_if(|reply| reply.deadline <= now)
            {
                reply.send(Ok(Deregistered::Unconfirmed));
            }
        }
        self.removals.answer_overdue(now);
    }

    // === the end ===

    /// Ends every registration. Returns the leases to revoke, and the callers that wait for that.
    pub(super) fn close(mut self) -> (Vec<i64>, Vec<RemovalReply>) {
        self.settle();
        let deferred = std::mem::take(&mut self.deferred);
        let mut replies = self.removals.drain();
        for request in deferred {
            match request {
                Request::Put(put) => put.answer(Err(Error::Closed)),
                Request::Remove { reply, .. } | Request::RemoveUnleased { reply, .. } => {
                    replies.extend(reply);
                }
                Request::Dropped { .. } => {}
            }
        }
        for put in self.queue.drain() {
            put.request.answer(Err(Error::Closed));
        }
        for mut held in self.ledger.drain() {
            held.lose(Lost::Closed);
        }
        (self.into_leases(), replies)
    }
}
