//! The tenancy: all services of one client and one TTL, on one lease.
//!
//! What is to be done next, and what it means when it is done; the session makes the calls. One
//! thing is under way at a time, so no put can overtake a deregistration, and what a thousand
//! services want at once goes out a hundred to a transaction.
//!
//! What etcd cannot be trusted to have done is kept until it says so. A put that was not answered
//! may still be applied after the server thaws; so every lease is given an id of our own choosing
//! and is revoked even if its grant was never answered, a key that is to go is deleted again and
//! again until etcd says that it is gone, and what hangs on the lease without being in the ledger
//! is removed whenever the lease is verified. Nor may what was given up undo what came later: every
//! write is guarded by what we believe to stand under its key, and is sent again with what does
//! stand if that was wrong. A service that is new costs one request by that, one that takes its key
//! over from the process before it two.

#[cfg(test)]
mod model;
mod outcome;
mod plan;
#[cfg(test)]
mod tests;

use crate::{
    config::Config,
    departures::{Departures, backoff},
    door::{Claims, Op, Put, Reply, Shared},
    ledger::{Entry, Ledger, Missing},
    telemetry::Counted,
    txn::Guard,
};
use backon::ExponentialBackoff;
use sd_core::{Deregistered, Error, LeaseId, Lost, LostLeases, Reclaimed, Result, ServiceKey, Ttl};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

pub(crate) struct Tenancy {
    config: Arc<Config>,
    shared: Arc<Shared>,
    claims: Claims,
    ttl: Ttl,
    /// What is to be put.
    queue: VecDeque<Waiting>,
    ledger: Ledger,
    /// What is to go.
    departures: Departures,
    lease: Option<Lease>,
    lost_leases: LostLeases,
    /// A lease that was asked for without an answer. It is asked for again, under the same id, so
    /// that an outage leaves one at most behind; or doomed, when nobody does.
    ungranted: Option<Ungranted>,
    doomed: VecDeque<Doomed>,
    /// What was missing when the lease was verified.
    suspects: Vec<Missing>,
    under_way: UnderWay,
    /// Since when that is under way.
    since: Instant,
    /// What was asked for meanwhile about services that are being put.
    deferred: Vec<Op>,
    /// When to go on with what has to go, after a failure.
    cleanup_at: Instant,
    cleanup_backoff: ExponentialBackoff,
}

#[derive(Clone, Copy)]
struct Ungranted {
    lease: i64,
    doomed_at: Instant,
}

/// A lease that is to be revoked. Nothing is put on it any more: a revocation that was given up may
/// be carried out at any time.
#[derive(Clone, Copy)]
struct Doomed {
    lease: i64,
    /// Whether etcd said that it was granted.
    granted: bool,
}

struct Lease {
    id: i64,
    verify_at: Instant,
    /// etcd refused to say what hangs on it.
    refused: bool,
    _counted: Counted,
}

/// A put that is to be sent.
pub(crate) struct Waiting {
    put: Put,
    /// What was learned when it was refused.
    learned: Option<Guard>,
    tries: u32,
    /// Failed in company; goes out by itself.
    alone: bool,
}

/// One write, and what it is for; keys in full.
pub(crate) enum Item {
    Put(Waiting, Vec<u8>, Guard),
    Leave(Vec<u8>, Guard),
}

/// The one thing that is being done.
#[derive(Default)]
enum UnderWay {
    #[default]
    Nothing,
    Grant {
        lease: i64,
        /// It was asked for before.
        again: bool,
    },
    /// Puts of these services.
    Puts(HashSet<ServiceKey>),
    Removals,
    Revocation(Doomed),
    /// Something that only reads, and may be dropped for what is more urgent.
    Look,
}

/// What a put that is about to be sent has come to.
enum Verdict {
    Send(Guard),
    Answer(Result<Reclaimed>),
}

impl Tenancy {
    pub(crate) fn new(
        config: Arc<Config>,
        shared: Arc<Shared>,
        claims: Claims,
        ttl: Ttl,
        now: Instant,
    ) -> Self {
        Self {
            config,
            shared,
            claims,
            ttl,
            queue: VecDeque::new(),
            ledger: Ledger::default(),
            departures: Departures::default(),
            lease: None,
            lost_leases: LostLeases::default(),
            ungranted: None,
            doomed: VecDeque::new(),
            suspects: Vec::new(),
            under_way: UnderWay::Nothing,
            since: now,
            deferred: Vec::new(),
            cleanup_at: now,
            cleanup_backoff: backoff(),
        }
    }

    /// The lease that is to be kept alive.
    pub(crate) fn lease(&self) -> Option<i64> {
        self.lease.as_ref().map(|lease| lease.id)
    }

    // === what is asked for ===

    pub(crate) fn accept(&mut self, op: Op) {
        if let UnderWay::Puts(services) = &self.under_way
            && services.contains(op.service())
        {
            let mut before = self.deferred.iter();
            let waits = match &op {
                // Only then is it known whose the entry is.
                Op::Remove { .. } | Op::Dropped { .. } => true,
                Op::Put(put) => before.any(|other| *other.service() == put.service),
            };
            if waits {
                if let Op::Remove { service, .. } = &op {
                    self.forget_puts(&service.clone());
                }
                self.deferred.push(op);
                return;
            }
        }
        match op {
            Op::Put(put) => match self.judge(&put, None) {
                Verdict::Send(_) => self.queue.push_back(Waiting {
                    put,
                    learned: None,
                    tries: 0,
                    alone: false,
                }),
                Verdict::Answer(answer) => put.answer(answer),
            },
            Op::Remove {
                service,
                why,
                reply,
            } => self.remove(&service, why, reply),
            Op::Dropped { service, id } => {
                let is_held = self.ledger.get(&service).is_some_and(|it| it.id == id);
                if is_held && let Some(entry) = self.ledger.remove(&service) {
                    self.lost_leases.forget(&service);
                    let guard = entry.guard();
                    self.leave(entry.key, entry.lease, guard, None);
                }
            }
        }
    }

    /// Whether a put may be sent, and under which guard: what was learned of its key, or what we
    /// know of it.
    fn judge(&self, put: &Put, learned: Option<Guard>) -> Verdict {
        let entry = self.ledger.get(&put.service);
        if let Some(id) = put.reclaims {
            match entry {
                // It was deregistered, or its handle dropped.
                None => return Verdict::Answer(Err(Error::Closed)),
                Some(entry) if entry.id != id => {
                    let value = entry.value.clone();
                    return Verdict::Answer(Ok(Reclaimed::taken(value)));
                }
                Some(_) => {}
            }
        }
        Verdict::Send(learned.unwrap_or_else(|| entry.map_or(Guard::Absent, Entry::guard)))
    }

    fn remove(&mut self, service: &ServiceKey, why: Lost, reply: Option<Reply>) {
        self.forget_puts(service);
        self.lost_leases.forget(service);
        if let Some(mut entry) = self.ledger.remove(service) {
            let guard = entry.guard();
            entry.lose(why);
            self.leave(entry.key, entry.lease, guard, reply);
        } else if let Some(reply) = reply {
            // It may still be on its way out.
            let key = self.key(service, self.lease().unwrap_or_default());
            if let Err(reply) = self.departures.join(&key, reply) {
                reply.send(Ok(Deregistered::NotOurs));
            }
        }
    }

    /// A deregistration wins against every put before it: those that wait are not sent, one that
    /// is on its way is waited for and its entry removed.
    fn forget_puts(&mut self, service: &ServiceKey) {
        if !self.queue.iter().any(|it| it.put.service == *service) {
            return;
        }
        for waiting in std::mem::take(&mut self.queue) {
            if waiting.put.service == *service {
                waiting.put.answer(Err(Error::Closed));
            } else {
                self.queue.push_back(waiting);
            }
        }
    }

    fn leave(&mut self, key: Vec<u8>, lease: i64, guard: Guard, reply: Option<Reply>) {
        // It may have been put on the current lease without an answer since it was known to be on
        // an older one.
        let current = self.lease();
        let is_current = current.is_some() && self.departures.lease_of(&key) == current;
        let lease = current.filter(|_| is_current).unwrap_or(lease);
        self.departures.add(key, lease, guard, reply);
    }

    /// The key in full of a service on `lease`.
    fn key(&self, service: &ServiceKey, lease: i64) -> Vec<u8> {
        let key = service.under(&LeaseId::from(lease));
        self.config.namespace.full(key.as_str())
    }

    // === time ===

    /// When to call [`tick`](Self::tick) and [`next`](Self::next) at the latest.
    pub(crate) fn timer(&self) -> Option<Instant> {
        let is_idle = matches!(self.under_way, UnderWay::Nothing);
        let is_clean = self.departures.is_empty() && self.doomed.is_empty();
        let cleanup = (is_idle && !is_clean).then_some(self.cleanup_at);
        let ungranted = self.ungranted.filter(|_| is_idle);
        let doomed = ungranted.map(|it| it.doomed_at.max(self.cleanup_at));
        let lease = self.lease.as_ref().filter(|_| is_idle);
        let verify = lease.map(|lease| lease.verify_at);
        let answers = [cleanup, doomed, verify, self.deadline()];
        answers.into_iter().flatten().min()
    }

    /// The earliest moment by which somebody has to hear of his deregistration.
    fn deadline(&self) -> Option<Instant> {
        let deferred = self.deferred.iter().filter_map(|op| match op {
            Op::Remove { reply, .. } => reply.as_ref().map(|reply| reply.deadline),
            Op::Put(_) | Op::Dropped { .. } => None,
        });
        deferred.chain(self.departures.deadline()).min()
    }

    /// When to give up what is under way, so that another member can still be asked for a removal in
    /// time. It may take effect all the same, and later: an update finds another modification then
    /// or nothing, and does nothing; where a removal finds what the put was to find (nothing, or
    /// somebody else's), it says that it is not confirmed.
    pub(crate) fn give_up_at(&self) -> Option<Instant> {
        match self.under_way {
            UnderWay::Grant { .. } | UnderWay::Puts(_) => {
                let brief = self.config.brief();
                Some((self.deadline()? - brief).max(self.since + brief))
            }
            // They are brief themselves, or dropped.
            UnderWay::Removals | UnderWay::Revocation { .. } | UnderWay::Look => None,
            UnderWay::Nothing => None,
        }
    }

    /// Answers to those whose time is over.
    pub(crate) fn tick(&mut self, now: Instant) {
        for op in &mut self.deferred {
            if let Op::Remove { reply, .. } = op
                && let Some(reply) = reply.take_if(|reply| reply.deadline <= now)
            {
                reply.send(Ok(Deregistered::Unconfirmed));
            }
        }
        self.departures.answer_overdue(now);
    }

    fn postpone_cleanup(&mut self, now: Instant) {
        let pause = self.cleanup_backoff.next();
        self.cleanup_at = now + pause.unwrap_or(Duration::from_secs(1));
    }

    // === the end ===

    /// Whether a lease is being asked for.
    pub(crate) fn is_granting(&self) -> bool {
        matches!(self.under_way, UnderWay::Grant { .. })
    }

    /// Lets go of everything. Gives back the leases that are to be revoked, and who waits for it.
    pub(crate) fn close(mut self) -> (Vec<i64>, Vec<Reply>) {
        let deferred = std::mem::take(&mut self.deferred);
        let mut replies = self.departures.drain();
        for op in deferred {
            match op {
                Op::Put(put) => put.answer(Err(Error::Closed)),
                Op::Remove { reply, .. } => replies.extend(reply),
                Op::Dropped { .. } => {}
            }
        }
        for waiting in self.queue.drain(..) {
            waiting.put.answer(Err(Error::Closed));
        }
        for mut entry in self.ledger.drain() {
            entry.lose(Lost::Closed);
        }
        let mut leases: Vec<i64> = self.doomed.iter().map(|it| it.lease).collect();
        if let Some(lease) = self.lease {
            self.shared.gone(lease.id);
            leases.push(lease.id);
        }
        leases.extend(self.ungranted.map(|it| it.lease));
        if let UnderWay::Grant { lease, .. } | UnderWay::Revocation(Doomed { lease, .. }) =
            self.under_way
        {
            leases.push(lease);
        }
        (leases, replies)
    }
}
