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
//! is removed whenever the lease is verified.

mod outcome;
mod plan;
#[cfg(test)]
mod tests;

use crate::{
    config::Config,
    departures::{Departures, backoff},
    door::{Claims, Op, Put, Reply, Shared},
    ledger::{Ledger, Missing},
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
    /// A lease that was asked for without an answer. It is asked for again, under the same id, or
    /// revoked; so an outage leaves one at most behind.
    ungranted: Option<i64>,
    /// Leases to be revoked.
    doomed: VecDeque<i64>,
    /// What was missing when the lease was verified.
    suspects: Vec<Missing>,
    under_way: UnderWay,
    /// What was asked for meanwhile about services that are being put.
    deferred: Vec<Op>,
    /// When to go on with what has to go, after a failure.
    cleanup_at: Instant,
    cleanup_backoff: ExponentialBackoff,
}

struct Lease {
    id: i64,
    verify_at: Instant,
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
    Put(Waiting, Vec<u8>),
    Leave(Vec<u8>),
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
    Revocation {
        lease: i64,
        granted: bool,
    },
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
            let is_removal = matches!(op, Op::Remove { .. });
            let mut before = self.deferred.iter();
            if is_removal || before.any(|other| other.service() == op.service()) {
                if is_removal {
                    self.forget_puts(&op.service().clone());
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
                    self.leave(entry.key, entry.lease, None);
                }
            }
        }
    }

    /// Whether a put may be sent, and under which guard.
    fn judge(&self, put: &Put, learned: Option<Guard>) -> Verdict {
        let Some(id) = put.reclaims else {
            return Verdict::Send(Guard::None);
        };
        match self.ledger.get(&put.service) {
            // It was deregistered, or its handle dropped.
            None => Verdict::Answer(Err(Error::Closed)),
            Some(entry) if entry.id != id => {
                let value = entry.value.clone();
                Verdict::Answer(Ok(Reclaimed::Taken { value }))
            }
            Some(entry) => Verdict::Send(match learned {
                Some(guard) => guard,
                None if entry.loss.is_none() => Guard::Absent,
                None => Guard::Ours {
                    lease: entry.lease,
                    modified: entry.modified,
                },
            }),
        }
    }

    fn remove(&mut self, service: &ServiceKey, why: Lost, reply: Option<Reply>) {
        self.forget_puts(service);
        self.lost_leases.forget(service);
        if let Some(mut entry) = self.ledger.remove(service) {
            entry.lose(why);
            self.leave(entry.key, entry.lease, reply);
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

    fn leave(&mut self, key: Vec<u8>, lease: i64, reply: Option<Reply>) {
        // It may have been put on the current lease without an answer since it was known to be on
        // an older one.
        let current = self.lease();
        let is_current = current.is_some() && self.departures.lease_of(&key) == current;
        let lease = current.filter(|_| is_current).unwrap_or(lease);
        self.departures.add(key, lease, reply);
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
        let is_clean =
            self.departures.is_empty() && self.doomed.is_empty() && self.ungranted.is_none();
        let cleanup = (is_idle && !is_clean).then_some(self.cleanup_at);
        let lease = self.lease.as_ref().filter(|_| is_idle);
        let verify = lease.map(|lease| lease.verify_at);
        let deferred = self.deferred.iter().filter_map(|op| match op {
            Op::Remove { reply, .. } => reply.as_ref().map(|reply| reply.deadline),
            Op::Put(_) | Op::Dropped { .. } => None,
        });
        let answers = [cleanup, verify, self.departures.deadline(), deferred.min()];
        answers.into_iter().flatten().min()
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
        let mut leases = Vec::from(self.doomed);
        if let Some(lease) = self.lease {
            self.shared.gone(lease.id);
            leases.push(lease.id);
        }
        leases.extend(self.ungranted);
        if let UnderWay::Grant { lease, .. } | UnderWay::Revocation { lease, .. } = self.under_way {
            leases.push(lease);
        }
        (leases, replies)
    }
}
