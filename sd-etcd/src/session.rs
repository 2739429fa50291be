//! The session: all services of one client and one TTL, on one lease.
//!
//! One task owns the lease, its pulse and the ledger, and does one thing at a time: grant, write a
//! batch, verify, revoke. So no put can overtake a deregistration, and what a thousand services
//! want at once goes out a hundred to a transaction.
//!
//! What etcd cannot be trusted to have done is kept until it says so. A put that was not answered
//! may still be applied after the server thaws; so every lease is given an id of our own choosing
//! and is revoked even if its grant was never answered, a key that is to go is deleted again and
//! again until etcd says that it is gone, and what hangs on the lease without being in the ledger
//! is removed whenever the lease is verified.

use crate::{
    config::Config,
    error,
    ledger::{Entry, Ledger, Missing},
    link::{Failure, Link},
    pulse::{Beat, Pulse},
    txn::{self, Found, Guard, Write, Written},
};
use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use etcd_client::{LeaseGrantOptions, LeaseTimeToLiveOptions};
use futures::future::BoxFuture;
use sd_core::{
    Deregistered, Error, Invalid, Key, LeaseId, Lost, Reclaim, Reclaimed, Registration, Result,
    ServiceKey, Ttl,
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Writes in one transaction; etcd takes 128 by default, and 127 that are guarded.
const BATCH: usize = 100;
/// How often a guard is tried again on a key that changes under our hands.
const MOST_TRIES: u32 = 8;
/// How long to leave alone what etcd does not allow us to look at.
const NOT_ALLOWED: Duration = Duration::from_secs(300);
/// How long after an answer etcd has dealt with all that it found at a thaw.
const SETTLED: Duration = Duration::from_secs(1);

/// Every handle sends a bounded number of these.
pub(crate) type Ops = mpsc::UnboundedSender<Op>;

pub(crate) enum Op {
    Put(Put),
    Remove {
        stem: Key,
        why: Lost,
        reply: Option<(Instant, oneshot::Sender<Result<Deregistered>>)>,
    },
    /// The handle of registration `id` was dropped.
    Dropped {
        stem: Key,
        id: u64,
    },
}

impl Op {
    /// When it has to be answered at the latest.
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Remove {
                reply: Some((deadline, _)),
                ..
            } => Some(*deadline),
            _ => None,
        }
    }
}

/// A service to be put under its key.
pub(crate) struct Put {
    id: u64,
    key: ServiceKey,
    value: Bytes,
    /// The registration that it reclaims; none if it takes the key over.
    reclaims: Option<u64>,
    guard: Guard,
    tries: u32,
    /// Failed in company; goes out by itself.
    alone: bool,
    reply: oneshot::Sender<Result<Reclaimed>>,
}

/// What all sessions of a client share.
#[derive(Default)]
pub(crate) struct Shared {
    ids: AtomicU64,
    /// The living leases, the newest last.
    leases: Mutex<Vec<i64>>,
}

impl Shared {
    pub(crate) fn lease(&self) -> Option<LeaseId> {
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.last().map(|lease| LeaseId::from(*lease))
    }

    fn born(&self, lease: i64) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.push(lease);
    }

    fn gone(&self, lease: i64) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|other| *other != lease);
    }
}

/// How the rest of the client talks to a session.
#[derive(Clone)]
pub(crate) struct Door {
    ops: Ops,
    shared: Arc<Shared>,
    config: Arc<Config>,
}

impl Door {
    /// Puts a service; `reclaims` as in [`Put`].
    pub(crate) async fn put(
        &self,
        key: ServiceKey,
        value: Bytes,
        reclaims: Option<u64>,
    ) -> Result<Reclaimed> {
        self.check_size(&key, &value)?;
        let (reply, answer) = oneshot::channel();
        let put = Put {
            id: self.shared.ids.fetch_add(1, Ordering::Relaxed),
            key,
            value,
            reclaims,
            guard: Guard::None,
            tries: 0,
            alone: false,
            reply,
        };
        self.ops.send(Op::Put(put)).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Removes a service and says what became of it, before `deadline`.
    pub(crate) async fn remove(&self, stem: Key, deadline: Instant) -> Result<Deregistered> {
        let (reply, answer) = oneshot::channel();
        let op = Op::Remove {
            stem,
            why: Lost::Deregistered,
            reply: Some((deadline, reply)),
        };
        self.ops.send(op).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Another session holds the service now.
    pub(crate) fn supersede(&self, stem: Key) {
        let op = Op::Remove {
            stem,
            why: Lost::Superseded,
            reply: None,
        };
        // A session that has ended holds nothing.
        let _ = self.ops.send(op);
    }

    /// What etcd compares with its limit is the request, not the value alone.
    fn check_size(&self, key: &ServiceKey, value: &Bytes) -> Result<()> {
        let limit = self.config.max_request_bytes;
        let size = txn::size(&self.config.namespace.full(key.stem().as_str()), value);
        if size <= limit {
            return Ok(());
        }
        let key: String = key.stem().as_str().chars().take(64).collect();
        Err(Invalid::TooLarge { key, size, limit }.into())
    }
}

/// The reclaiming half of a registration.
struct Claim {
    id: u64,
    key: ServiceKey,
    door: Door,
}

#[async_trait]
impl Reclaim for Claim {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        self.door.put(self.key.clone(), value, Some(self.id)).await
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let stem = self.key.stem().clone();
        // A session that has ended holds nothing.
        let _ = self.door.ops.send(Op::Dropped { stem, id: self.id });
    }
}

/// Opens a session; the future runs until `stop` is cancelled and leaves no lease behind that etcd
/// can be told of in time.
pub(crate) fn open(
    link: Arc<Link>,
    config: Arc<Config>,
    shared: Arc<Shared>,
    ttl: Ttl,
    stop: CancellationToken,
) -> (Door, impl Future<Output = ()> + Send) {
    let (ops, inbox) = mpsc::unbounded_channel();
    let door = Door {
        ops: ops.clone(),
        shared: shared.clone(),
        config: config.clone(),
    };
    let session = Session {
        link,
        config,
        shared,
        ttl,
        ops: ops.downgrade(),
        queue: VecDeque::new(),
        ledger: Ledger::default(),
        leaving: HashMap::new(),
        lease: None,
        doomed: VecDeque::new(),
        work: None,
        putting: HashSet::new(),
        doubtful: HashMap::new(),
        deferred: Vec::new(),
        cleanup_at: Instant::now(),
        cleanup_backoff: backoff(),
    };
    (door, session.run(inbox, stop))
}

struct Session {
    link: Arc<Link>,
    config: Arc<Config>,
    shared: Arc<Shared>,
    ttl: Ttl,
    /// For the handles that it makes; weak, so that the last handle's end can be noticed.
    ops: mpsc::WeakUnboundedSender<Op>,
    /// What is to be put.
    queue: VecDeque<Put>,
    ledger: Ledger,
    /// What is to go, by its key in full.
    leaving: HashMap<Vec<u8>, Leaving>,
    lease: Option<Lease>,
    /// Leases to be revoked.
    doomed: VecDeque<Doomed>,
    /// The one thing that is being done.
    work: Option<BoxFuture<'static, Done>>,
    /// The services that it puts.
    putting: HashSet<Key>,
    /// Where services may stand that are in no ledger, as their put was given up unanswered: the
    /// key in full and the lease.
    doubtful: HashMap<Key, (Vec<u8>, i64)>,
    /// What was asked for about those meanwhile.
    deferred: Vec<Op>,
    /// When to go on with what has to go, after a failure.
    cleanup_at: Instant,
    cleanup_backoff: ExponentialBackoff,
}

struct Lease {
    id: i64,
    pulse: Pulse,
    verify_at: Instant,
}

/// A lease that has to go.
struct Doomed {
    lease: i64,
    /// Its grant was not answered: where etcd does not know it, it may still come to know it, as
    /// two requests that it finds at a thaw have no order.
    unsure: bool,
    /// Not before.
    at: Instant,
}

impl Doomed {
    fn now(lease: i64) -> Self {
        Self {
            lease,
            unsure: false,
            at: Instant::now(),
        }
    }
}

/// A key that is ours as long as it hangs on `lease`, and has to go.
struct Leaving {
    /// The service that it was the key of; none for a stray.
    stem: Option<Key>,
    lease: i64,
    replies: Vec<(Instant, oneshot::Sender<Result<Deregistered>>)>,
    alone: bool,
}

enum Item {
    Put(Put, Vec<u8>),
    Leave(Vec<u8>),
}

impl Item {
    fn stem(&self) -> Option<&Key> {
        match self {
            Self::Put(put, _) => Some(put.key.stem()),
            Self::Leave(_) => None,
        }
    }
}

/// What came of a piece of work.
enum Done {
    Granted(i64, Result<(), Failure>),
    Wrote(i64, Vec<Item>, Result<Vec<Written>, Failure>),
    /// Whether there was such a lease.
    Revoked(Doomed, Result<bool, Failure>),
    /// All keys on the lease; `None` if it is gone.
    Verified(i64, Result<Option<HashSet<Vec<u8>>>, Failure>),
    Examined(i64, Vec<Missing>, Result<Vec<Option<Found>>, Failure>),
}

impl Session {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Op>, stop: CancellationToken) {
        loop {
            self.begin_work();
            let timer = self.timer();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                done = working(&mut self.work) => {
                    self.work = None;
                    self.putting.clear();
                    self.finish(done);
                    for op in std::mem::take(&mut self.deferred) {
                        self.accept(op);
                    }
                }
                Some(op) = inbox.recv() => {
                    self.accept(op);
                    while let Ok(op) = inbox.try_recv() {
                        self.accept(op);
                    }
                }
                beat = beating(&mut self.lease) => {
                    if beat == Beat::Lost {
                        self.lease_lost();
                    }
                }
                () = until(timer) => self.tick(),
            }
        }
        inbox.close();
        while let Ok(op) = inbox.try_recv() {
            self.accept(op);
        }
        self.end().await;
    }

    // === what is asked for ===

    fn accept(&mut self, op: Op) {
        match op {
            Op::Put(put) => self.accept_put(put),
            Op::Remove { ref stem, .. } if self.putting.contains(stem) => {
                self.forget_puts(&stem.clone());
                self.deferred.push(op);
            }
            Op::Remove { stem, why, reply } => {
                self.forget_puts(&stem);
                match self.ledger.remove(&stem) {
                    Some(mut entry) => {
                        entry.lose(why);
                        self.leave(Some(stem), entry.key, entry.lease, reply);
                    }
                    None => self.remove_unknown(stem, reply),
                }
            }
            Op::Dropped { stem, id } => {
                if self.ledger.get(&stem).is_some_and(|entry| entry.id == id)
                    && let Some(entry) = self.ledger.remove(&stem)
                {
                    self.leave(Some(stem), entry.key, entry.lease, None);
                }
            }
        }
    }

    fn accept_put(&mut self, mut put: Put) {
        if let Some(reclaims) = put.reclaims {
            match self.ledger.get(put.key.stem()) {
                // It was deregistered, or its handle dropped.
                None => {
                    let _ = put.reply.send(Err(Error::Closed));
                    return;
                }
                Some(entry) if entry.id != reclaims => {
                    let value = entry.value.clone();
                    let _ = put.reply.send(Ok(Reclaimed::Taken { value }));
                    return;
                }
                Some(entry) => {
                    put.guard = if entry.loss.is_some() {
                        Guard::Ours {
                            lease: entry.lease,
                            modified: entry.modified,
                        }
                    } else {
                        Guard::Absent
                    };
                }
            }
        }
        self.queue.push_back(put);
    }

    /// A deregistration wins against every put before it: those that wait are not sent, one that
    /// is on its way is waited for and its entry removed.
    fn forget_puts(&mut self, stem: &Key) {
        let (gone, kept): (VecDeque<Put>, _) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|put| put.key.stem() == stem);
        self.queue = kept;
        for put in gone {
            let _ = put.reply.send(Err(Error::Closed));
        }
    }

    /// A service that is not in the ledger may still be on its way out, or stand all the same.
    fn remove_unknown(
        &mut self,
        stem: Key,
        reply: Option<(Instant, oneshot::Sender<Result<Deregistered>>)>,
    ) {
        if let Some((key, lease)) = self.doubtful.remove(&stem) {
            return self.leave(Some(stem), key, lease, reply);
        }
        let Some((deadline, reply)) = reply else {
            return;
        };
        let key = self.config.namespace.full(stem.as_str());
        let mut leaving = self.leaving.iter_mut();
        match leaving.find(|(other, it)| **other == key || it.stem.as_ref() == Some(&stem)) {
            Some((_, leaving)) => leaving.replies.push((deadline, reply)),
            None => {
                let _ = reply.send(Ok(Deregistered::NotOurs));
            }
        }
    }

    fn leave(
        &mut self,
        stem: Option<Key>,
        key: Vec<u8>,
        lease: i64,
        reply: Option<(Instant, oneshot::Sender<Result<Deregistered>>)>,
    ) {
        let leaving = self.leaving.entry(key).or_insert_with(|| Leaving {
            stem: None,
            lease,
            replies: Vec::new(),
            alone: false,
        });
        leaving.stem = stem.or(leaving.stem.take());
        leaving.lease = lease;
        leaving.replies.extend(reply);
    }

    // === what is to be done ===

    fn begin_work(&mut self) {
        if self.work.is_some() {
            return;
        }
        let now = Instant::now();
        if !self.queue.is_empty() && self.lease.is_none() {
            self.work = Some(Box::pin(grant(self.link.clone(), self.ttl)));
            return;
        }
        let items = self.next_batch(now);
        if !items.is_empty() {
            self.putting = items.iter().filter_map(Item::stem).cloned().collect();
            self.work = Some(self.write(items));
            return;
        }
        self.retire_unused_lease();
        let cleanup_is_due = now >= self.cleanup_at;
        if cleanup_is_due
            && let Some(due) = self.doomed.iter().position(|doomed| doomed.at <= now)
            && let Some(doomed) = self.doomed.remove(due)
        {
            self.work = Some(Box::pin(revoke(self.link.clone(), doomed)));
            return;
        }
        if let Some(lease) = &self.lease
            && now >= lease.verify_at
        {
            self.work = Some(Box::pin(verify(self.link.clone(), lease.id)));
        }
    }

    /// The next writes that fit into one transaction: what has to go before what is to come, every
    /// key once.
    fn next_batch(&mut self, now: Instant) -> Vec<Item> {
        let mut items = Vec::new();
        let mut bytes = 0;
        if now >= self.cleanup_at {
            for (key, leaving) in &self.leaving {
                let size = txn::size(key, &[]);
                let full = leaving.alone || bytes + size > self.config.max_request_bytes / 2;
                if full && !items.is_empty() {
                    continue;
                }
                bytes += size;
                items.push(Item::Leave(key.clone()));
                if leaving.alone || items.len() == BATCH {
                    return items;
                }
            }
        }
        let Some(lease) = &self.lease else {
            return items;
        };
        let lease_id = LeaseId::from(lease.id);
        let mut keys = HashSet::new();
        let mut postponed = VecDeque::new();
        while let Some(put) = self.queue.pop_front() {
            let key = put.key.under(&lease_id);
            let key = self.config.namespace.full(key.as_str());
            let size = txn::size(&key, &put.value);
            let full = items.len() == BATCH
                || (!items.is_empty()
                    && (put.alone || bytes + size > self.config.max_request_bytes / 2));
            if full {
                self.queue.push_front(put);
                break;
            }
            if self.leaving.contains_key(&key) || !keys.insert(key.clone()) {
                postponed.push_back(put);
                continue;
            }
            bytes += size;
            let alone = put.alone;
            items.push(Item::Put(put, key));
            if alone {
                break;
            }
        }
        postponed.append(&mut self.queue);
        self.queue = postponed;
        items
    }

    fn write(&self, items: Vec<Item>) -> BoxFuture<'static, Done> {
        let lease = self.lease.as_ref().map_or(0, |lease| lease.id);
        let writes = items
            .iter()
            .map(|item| match item {
                Item::Put(put, key) => Write::Put {
                    key: key.clone(),
                    value: put.value.clone(),
                    lease,
                    guard: put.guard,
                },
                Item::Leave(key) => Write::Delete {
                    key: key.clone(),
                    guard: Guard::OnLease(self.leaving.get(key).map_or(0, |it| it.lease)),
                },
            })
            .collect();
        let link = self.link.clone();
        Box::pin(async move {
            let result = txn::write(&link, writes).await;
            Done::Wrote(lease, items, result)
        })
    }

    fn timer(&self) -> Option<Instant> {
        let idle = self.work.is_none();
        let leaving = (!self.leaving.is_empty()).then_some(self.cleanup_at);
        let doomed = self.doomed.iter().map(|doomed| doomed.at).min();
        let doomed = doomed.map(|at| at.max(self.cleanup_at));
        let cleanup = [leaving, doomed].into_iter().flatten().min();
        let cleanup = cleanup.filter(|_| idle);
        let verify = self
            .lease
            .as_ref()
            .filter(|_| idle)
            .map(|lease| lease.verify_at);
        let replies = self
            .leaving
            .values()
            .flat_map(|leaving| leaving.replies.iter().map(|(deadline, _)| *deadline))
            .min();
        let deferred = self.deferred.iter().filter_map(Op::deadline).min();
        [cleanup, verify, replies, deferred]
            .into_iter()
            .flatten()
            .min()
    }

    fn tick(&mut self) {
        let now = Instant::now();
        for op in &mut self.deferred {
            if let Op::Remove { reply, .. } = op
                && let Some((_, reply)) = reply.take_if(|(deadline, _)| *deadline <= now)
            {
                let _ = reply.send(Ok(Deregistered::Unconfirmed));
            }
        }
        for (key, leaving) in &mut self.leaving {
            let (over, open) = std::mem::take(&mut leaving.replies)
                .into_iter()
                .partition(|(deadline, _)| *deadline <= now);
            leaving.replies = open;
            let over: Vec<(Instant, oneshot::Sender<_>)> = over;
            for (_, reply) in over {
                tracing::warn!(
                    key = %String::from_utf8_lossy(key),
                    "deregistration not confirmed; still trying"
                );
                let _ = reply.send(Ok(Deregistered::Unconfirmed));
            }
        }
    }

    // === what came of it ===

    fn finish(&mut self, done: Done) {
        match done {
            Done::Granted(lease, Ok(())) => self.granted(lease),
            Done::Granted(lease, Err(failure)) => {
                // It may have been granted all the same.
                self.doomed.push_back(Doomed {
                    unsure: true,
                    ..Doomed::now(lease)
                });
                let error = Error::from(failure);
                for put in self.queue.drain(..) {
                    let _ = put.reply.send(Err(error.clone()));
                }
            }
            Done::Wrote(lease, items, Ok(written)) => {
                self.cleanup_backoff = backoff();
                let mut answers = Vec::new();
                for (item, written) in items.into_iter().zip(written) {
                    answers.extend(self.wrote(lease, item, written));
                }
                // Who hears that his service was the last sees no lease any more.
                self.retire_unused_lease();
                for (outcome, reply) in answers {
                    let _ = reply.send(Ok(outcome));
                }
            }
            Done::Wrote(lease, items, Err(failure)) => self.not_written(lease, items, failure),
            Done::Revoked(doomed, Ok(known)) => {
                self.cleanup_backoff = backoff();
                if doomed.unsure && !known {
                    self.doomed.push_back(Doomed {
                        unsure: false,
                        at: Instant::now() + SETTLED,
                        ..doomed
                    });
                } else {
                    self.doubtful.retain(|_, (_, on)| *on != doomed.lease);
                }
            }
            Done::Revoked(doomed, Err(failure)) => {
                let error = Error::from(failure);
                if error.is_transient() {
                    self.doomed.push_back(doomed);
                } else {
                    let lease = doomed.lease;
                    tracing::warn!(lease, %error, "lease not revoked; it ends by itself");
                }
                self.postpone_cleanup();
            }
            Done::Verified(lease, result) => self.verified(lease, result),
            Done::Examined(lease, missing, Ok(found)) => {
                for (missing, found) in missing.into_iter().zip(found) {
                    self.examined(lease, missing, found);
                }
            }
            // Asked again when the lease is verified next.
            Done::Examined(_, _, Err(_)) => {}
        }
    }

    fn granted(&mut self, lease: i64) {
        tracing::info!(lease, ttl = %self.ttl, "lease granted");
        self.shared.born(lease);
        let (link, config) = (self.link.clone(), self.config.clone());
        self.lease = Some(Lease {
            id: lease,
            pulse: Pulse::new(link, config, lease, self.ttl),
            verify_at: Instant::now() + self.ttl.keep_alive_interval(),
        });
    }

    /// Takes note of one write; gives back who is to hear of it, and what.
    fn wrote(
        &mut self,
        lease: i64,
        item: Item,
        written: Written,
    ) -> Vec<(Deregistered, oneshot::Sender<Result<Deregistered>>)> {
        match (item, written) {
            (Item::Put(put, key), Written::Done { revision }) => {
                self.registered(put, key, lease, revision);
                Vec::new()
            }
            (Item::Put(put, _), Written::Refused(found)) => {
                self.refused(put, lease, found);
                Vec::new()
            }
            (Item::Leave(key), written) => {
                let outcome = match written {
                    Written::Done { .. } => Deregistered::Removed,
                    Written::Refused(_) => Deregistered::NotOurs,
                };
                let leaving = self.leaving.remove(&key);
                let replies = leaving.into_iter().flat_map(|leaving| leaving.replies);
                replies.map(|(_, reply)| (outcome, reply)).collect()
            }
        }
    }

    fn registered(&mut self, put: Put, key: Vec<u8>, lease: i64, modified: i64) {
        let stem = put.key.stem().clone();
        self.doubtful.remove(&stem);
        let lease_id = LeaseId::from(lease);
        let (Some(ops), false) = (self.ops.upgrade(), put.reply.is_closed()) else {
            return self.put_for_nobody(put, key, lease, modified);
        };
        let door = Door {
            ops,
            shared: self.shared.clone(),
            config: self.config.clone(),
        };
        let claim = Claim {
            id: put.id,
            key: put.key.clone(),
            door,
        };
        let name = put.key.under(&lease_id);
        let (loss, registration) = Registration::channel(name, lease_id, claim);
        let entry = Entry {
            id: put.id,
            key: key.clone(),
            value: put.value.clone(),
            lease,
            modified,
            loss: Some(loss),
        };
        let mut before = self.ledger.enter(stem.clone(), entry);
        match put.reply.send(Ok(Reclaimed::Held(registration))) {
            Ok(()) => {
                if let Some(before) = &mut before {
                    before.lose(Lost::Superseded);
                    self.leave_old_key(before, &key);
                }
            }
            // Its caller went away this very moment. A reclaimed registration stays with the
            // handle before; a new one goes with its own, which is dropped here.
            Err(unwanted) => {
                if put.reclaims.is_some()
                    && let Some(before) = before
                    && let Some(entry) = self.ledger.get_mut(&stem)
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
        let before = self.ledger.get_mut(put.key.stem());
        match before {
            Some(entry) if put.reclaims == Some(entry.id) => {
                entry.key = key;
                entry.value = put.value;
                entry.lease = lease;
                entry.modified = modified;
            }
            Some(entry) if entry.key == key && put.reclaims.is_none() => {
                // It took the place of an older registration and is not wanted itself.
                entry.lose(Lost::Superseded);
                self.ledger.remove(put.key.stem());
                self.leave(Some(put.key.stem().clone()), key, lease, None);
            }
            _ => self.leave(Some(put.key.stem().clone()), key, lease, None),
        }
    }

    /// A key that its lease completes changes with the lease; the old one may still stand.
    fn leave_old_key(&mut self, before: &Entry, key: &[u8]) {
        if before.key != key {
            self.leave(None, before.key.clone(), before.lease, None);
        }
    }

    fn refused(&mut self, mut put: Put, lease: i64, found: Option<Found>) {
        put.tries += 1;
        let ours = self
            .ledger
            .get(put.key.stem())
            .filter(|entry| put.reclaims == Some(entry.id))
            .map(|entry| entry.lease);
        match found {
            _ if put.tries > MOST_TRIES => {
                let error = Error::unavailable("the key changes too fast to be reclaimed");
                let _ = put.reply.send(Err(error));
            }
            None => {
                put.guard = Guard::Absent;
                self.queue.push_front(put);
            }
            // On our lease with another modification: a put of ours that was given up, and was
            // applied all the same.
            Some(found) if found.lease == lease || Some(found.lease) == ours => {
                put.guard = Guard::Ours {
                    lease: found.lease,
                    modified: found.modified,
                };
                self.queue.push_front(put);
            }
            Some(found) => {
                let value = found.value;
                if let Some(entry) = self.ledger.get_mut(put.key.stem()) {
                    entry.lose(Lost::Taken {
                        value: value.clone(),
                    });
                }
                let _ = put.reply.send(Ok(Reclaimed::Taken { value }));
            }
        }
    }

    fn not_written(&mut self, lease: i64, items: Vec<Item>, failure: Failure) {
        if let Failure::Etcd(error) = &failure
            && error::is_lease_not_found(error)
        {
            if self.lease.as_ref().is_some_and(|it| it.id == lease) {
                self.lease_lost();
            }
            self.requeue(items, false);
            return;
        }
        let error = Error::from(failure);
        if !error.is_transient() && items.len() > 1 {
            // One of them is at fault; its neighbours are not to suffer.
            self.requeue(items, true);
            return;
        }
        if error.is_transient() {
            self.postpone_cleanup();
        }
        for item in items {
            match item {
                Item::Put(put, key) => {
                    let stem = put.key.stem();
                    if error.is_transient() && self.ledger.get(stem).is_none() {
                        self.doubtful.insert(stem.clone(), (key, lease));
                    }
                    let _ = put.reply.send(Err(error.clone()));
                }
                // Goes on being tried.
                Item::Leave(_) if error.is_transient() => {}
                Item::Leave(key) => {
                    let replies = self.leaving.remove(&key).map(|leaving| leaving.replies);
                    for (_, reply) in replies.into_iter().flatten() {
                        let _ = reply.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    fn requeue(&mut self, items: Vec<Item>, alone: bool) {
        for item in items.into_iter().rev() {
            match item {
                Item::Put(mut put, _) => {
                    put.alone |= alone;
                    self.queue.push_front(put);
                }
                Item::Leave(key) => {
                    if let Some(leaving) = self.leaving.get_mut(&key) {
                        leaving.alone |= alone;
                    }
                }
            }
        }
    }

    fn verified(&mut self, lease: i64, result: Result<Option<HashSet<Vec<u8>>>, Failure>) {
        let Some(current) = self.lease.as_mut().filter(|current| current.id == lease) else {
            return;
        };
        let interval = self.ttl.keep_alive_interval();
        current.verify_at = Instant::now() + interval;
        match result {
            Ok(None) => self.lease_lost(),
            Ok(Some(keys)) => {
                // What stands by now is here; what comes later is found the next time.
                self.doubtful.retain(|_, (_, on)| *on != lease);
                for stray in self.ledger.strays(&keys) {
                    if !self.leaving.contains_key(&stray) {
                        tracing::warn!(
                            key = %String::from_utf8_lossy(&stray),
                            "removing a key of ours that nobody holds"
                        );
                        self.leave(None, stray, lease, None);
                    }
                }
                let mut missing = self.ledger.missing(lease, &keys);
                if missing.len() > BATCH {
                    // The others at once after these.
                    missing.truncate(BATCH);
                    current_verify_soon(&mut self.lease);
                }
                if !missing.is_empty() {
                    self.work = Some(Box::pin(examine(self.link.clone(), lease, missing)));
                }
            }
            Err(failure) => {
                let error = Error::from(failure);
                if !error.is_transient() {
                    tracing::warn!(
                        lease, %error,
                        "registrations cannot be verified: deleted keys will not be noticed"
                    );
                    current.verify_at = Instant::now() + NOT_ALLOWED;
                }
            }
        }
    }

    fn examined(&mut self, lease: i64, missing: Missing, found: Option<Found>) {
        let Some(entry) = self.ledger.get_mut(&missing.stem) else {
            return;
        };
        let key = String::from_utf8_lossy(&missing.key);
        if entry.id != missing.id || entry.lease != lease || entry.loss.is_none() {
            return;
        }
        match found {
            None => {
                tracing::warn!(%key, "key deleted by somebody else");
                entry.lose(Lost::KeyDeleted);
            }
            Some(found) if found.lease == lease => {}
            Some(found) => {
                tracing::warn!(%key, "key taken by somebody else");
                entry.lose(Lost::Taken { value: found.value });
            }
        }
    }

    fn lease_lost(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.shared.gone(lease.id);
            self.doubtful.retain(|_, (_, on)| *on != lease.id);
            let services = self.ledger.lease_lost(lease.id);
            tracing::warn!(lease = lease.id, services, "lease lost");
        }
    }

    fn retire_unused_lease(&mut self) {
        if self.ledger.is_empty() && self.leaving.is_empty() && self.queue.is_empty() {
            self.retire_lease();
        }
    }

    fn retire_lease(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.shared.gone(lease.id);
            self.doomed.push_back(Doomed::now(lease.id));
        }
    }

    fn postpone_cleanup(&mut self) {
        let pause = self.cleanup_backoff.next();
        self.cleanup_at = Instant::now() + pause.unwrap_or(Duration::from_secs(1));
    }

    /// Lets go of everything, within the time of a deregistration.
    async fn end(mut self) {
        for put in self.queue.drain(..) {
            let _ = put.reply.send(Err(Error::Closed));
        }
        for mut entry in self.ledger.drain() {
            entry.lose(Lost::Closed);
        }
        let mut replies: Vec<_> = self
            .leaving
            .drain()
            .flat_map(|(_, leaving)| leaving.replies)
            .collect();
        self.retire_lease();
        // A grant that was not answered has made a lease all the same.
        if let Some(work) = &mut self.work
            && let Ok(Done::Granted(lease, _)) = timeout(Duration::from_millis(500), work).await
        {
            self.doomed.push_back(Doomed::now(lease));
        }
        self.work = None;
        let bound = Instant::now() + self.config.deregister_timeout;
        let mut all_gone = true;
        while let Some(Doomed { lease, .. }) = self.doomed.pop_front() {
            loop {
                let attempt = revoke(self.link.clone(), Doomed::now(lease));
                let Ok(Done::Revoked(_, result)) = tokio::time::timeout_at(bound, attempt).await
                else {
                    all_gone = false;
                    break;
                };
                match result.map_err(Error::from) {
                    Err(error) if error.is_transient() => {
                        let pause = self.cleanup_backoff.next();
                        tokio::time::sleep(pause.unwrap_or(Duration::from_secs(1))).await;
                    }
                    Ok(_) => break,
                    Err(_) => {
                        all_gone = false;
                        break;
                    }
                }
            }
        }
        let outcome = if all_gone {
            Deregistered::Removed
        } else {
            tracing::warn!(ttl = %self.ttl, "closed without an answer; the lease ends by itself");
            Deregistered::Unconfirmed
        };
        for (_, reply) in replies.drain(..) {
            let _ = reply.send(Ok(outcome));
        }
    }
}

fn current_verify_soon(lease: &mut Option<Lease>) {
    if let Some(lease) = lease {
        lease.verify_at = Instant::now();
    }
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_millis(500))
        .without_max_times()
        .build()
}

async fn grant(link: Arc<Link>, ttl: Ttl) -> Done {
    // Our own choice, so that it can be revoked even if the grant is never answered.
    let lease = fastrand::i64(1..i64::MAX);
    let seconds = i64::from(ttl.as_secs());
    let result = link
        .call("lease grant", async |connection| {
            let options = LeaseGrantOptions::new().with_id(lease);
            let mut leases = connection.client.lease_client();
            leases.grant(seconds, Some(options)).await
        })
        .await;
    Done::Granted(lease, result.map(|_| ()))
}

async fn revoke(link: Arc<Link>, doomed: Doomed) -> Done {
    let lease = doomed.lease;
    let result = link
        .call("lease revoke", async |connection| {
            connection.client.lease_client().revoke(lease).await
        })
        .await;
    let result = match result {
        Ok(_) => Ok(true),
        Err(Failure::Etcd(error)) if error::is_lease_not_found(&error) => Ok(false),
        Err(failure) => Err(failure),
    };
    Done::Revoked(doomed, result)
}

async fn verify(link: Arc<Link>, lease: i64) -> Done {
    let result = link
        .call("lease time to live", async |connection| {
            let options = LeaseTimeToLiveOptions::new().with_keys();
            let mut leases = connection.client.lease_client();
            leases.time_to_live(lease, Some(options)).await
        })
        .await;
    let result = match result {
        // A lease that is gone has a TTL of -1.
        Ok(answer) if answer.ttl() < 0 => Ok(None),
        Ok(answer) => Ok(Some(answer.0.keys.into_iter().collect())),
        Err(Failure::Etcd(error)) if error::is_lease_not_found(&error) => Ok(None),
        Err(failure) => Err(failure),
    };
    Done::Verified(lease, result)
}

async fn examine(link: Arc<Link>, lease: i64, missing: Vec<Missing>) -> Done {
    let keys = missing.iter().map(|missing| missing.key.clone()).collect();
    let result = txn::read_keys(&link, keys).await;
    Done::Examined(lease, missing, result)
}

async fn working(work: &mut Option<BoxFuture<'static, Done>>) -> Done {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}

async fn beating(lease: &mut Option<Lease>) -> Beat {
    match lease {
        Some(lease) => lease.pulse.next().await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
