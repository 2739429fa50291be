//! The door: how the rest of the client talks to a session.

use crate::{config::Config, txn};
use async_trait::async_trait;
use bytes::Bytes;
use sd_core::{
    Deregistered, Error, Invalid, LeaseId, Lost, Reclaim, Reclaimed, Result, ServiceKey,
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// Every handle sends a bounded number of these at a time.
type Ops = mpsc::UnboundedSender<Op>;

/// What a session is asked for.
pub(crate) enum Op {
    Put(Put),
    Remove {
        service: ServiceKey,
        why: Lost,
        reply: Option<Reply>,
    },
    /// The handle of registration `id` was dropped.
    Dropped {
        service: ServiceKey,
        id: u64,
    },
}

impl Op {
    pub(crate) fn service(&self) -> &ServiceKey {
        match self {
            Self::Put(put) => &put.service,
            Self::Remove { service, .. } | Self::Dropped { service, .. } => service,
        }
    }
}

/// A service to be put under its key.
#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) id: u64,
    pub(crate) service: ServiceKey,
    pub(crate) value: Bytes,
    /// The registration that it reclaims; none if it takes the key over.
    pub(crate) reclaims: Option<u64>,
    pub(crate) reply: oneshot::Sender<Result<Reclaimed>>,
}

impl Put {
    /// Nobody waits for it any more.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.reply.is_closed()
    }

    pub(crate) fn answer(self, answer: Result<Reclaimed>) {
        // Whoever asked may be gone.
        let _ = self.reply.send(answer);
    }
}

/// Who waits for the end of a service, and until when at most.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) deadline: Instant,
    pub(crate) to: oneshot::Sender<Result<Deregistered>>,
}

impl Reply {
    pub(crate) fn send(self, outcome: Result<Deregistered>) {
        // Whoever asked may be gone; what was asked for goes on.
        let _ = self.to.send(outcome);
    }
}

/// What all sessions of a client share.
#[derive(Default)]
pub(crate) struct Shared {
    ids: AtomicU64,
    /// The living leases, the newest last.
    leases: Mutex<Vec<i64>>,
}

impl Shared {
    fn leases(&self) -> MutexGuard<'_, Vec<i64>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lease(&self) -> Option<LeaseId> {
        self.leases().last().map(|lease| LeaseId::from(*lease))
    }

    pub(crate) fn born(&self, lease: i64) {
        self.leases().push(lease);
    }

    pub(crate) fn gone(&self, lease: i64) {
        self.leases().retain(|other| *other != lease);
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
    /// A door, and what comes through it.
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: Arc<Config>,
    ) -> (Self, mpsc::UnboundedReceiver<Op>) {
        let (ops, inbox) = mpsc::unbounded_channel();
        let door = Self {
            ops,
            shared,
            config,
        };
        (door, inbox)
    }

    /// Puts a service; `reclaims` as in [`Put`].
    pub(crate) async fn put(
        &self,
        service: ServiceKey,
        value: Bytes,
        reclaims: Option<u64>,
    ) -> Result<Reclaimed> {
        self.check_size(&service, &value)?;
        let (reply, answer) = oneshot::channel();
        let put = Put {
            id: self.shared.ids.fetch_add(1, Ordering::Relaxed),
            service,
            value,
            reclaims,
            reply,
        };
        self.ops.send(Op::Put(put)).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Removes a service and says what became of it, before `deadline`.
    pub(crate) async fn remove(
        &self,
        service: ServiceKey,
        deadline: Instant,
    ) -> Result<Deregistered> {
        let (to, answer) = oneshot::channel();
        let op = Op::Remove {
            service,
            why: Lost::Deregistered,
            reply: Some(Reply { deadline, to }),
        };
        self.ops.send(op).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Another session holds the service now.
    pub(crate) fn supersede(&self, service: ServiceKey) {
        let op = Op::Remove {
            service,
            why: Lost::Superseded,
            reply: None,
        };
        // A session that has ended holds nothing.
        let _ = self.ops.send(op);
    }

    /// The door as its own session knows it: it does not keep itself busy.
    pub(crate) fn downgrade(&self) -> Claims {
        Claims {
            ops: self.ops.downgrade(),
            shared: self.shared.clone(),
            config: self.config.clone(),
        }
    }

    /// What etcd compares with its limit is the request, not the value alone.
    fn check_size(&self, service: &ServiceKey, value: &Bytes) -> Result<()> {
        let limit = self.config.max_request_bytes;
        let key = service.stem().as_str();
        let size = txn::size(&self.config.namespace.full(key), value);
        if size <= limit {
            return Ok(());
        }
        let key: String = key.chars().take(64).collect();
        Err(Invalid::TooLarge { key, size, limit }.into())
    }
}

/// Makes the reclaiming halves of registrations.
pub(crate) struct Claims {
    ops: mpsc::WeakUnboundedSender<Op>,
    shared: Arc<Shared>,
    config: Arc<Config>,
}

impl Claims {
    /// The claim of registration `id`; `None` if nobody is left who could ask for anything.
    pub(crate) fn claim(&self, id: u64, service: ServiceKey) -> Option<Claim> {
        let door = Door {
            ops: self.ops.upgrade()?,
            shared: self.shared.clone(),
            config: self.config.clone(),
        };
        Some(Claim { id, service, door })
    }
}

/// The reclaiming half of a registration.
pub(crate) struct Claim {
    id: u64,
    service: ServiceKey,
    door: Door,
}

#[async_trait]
impl Reclaim for Claim {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        let service = self.service.clone();
        self.door.put(service, value, Some(self.id)).await
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let service = self.service.clone();
        // A session that has ended holds nothing.
        let _ = self.door.ops.send(Op::Dropped {
            service,
            id: self.id,
        });
    }
}
