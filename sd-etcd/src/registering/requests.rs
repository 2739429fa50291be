//! What a session is asked for, and by which handle.

use super::{own_keys::Sightings, shared::Shared, write};
use crate::config::Options;
use async_trait::async_trait;
use bytes::Bytes;
use sd_core::{
    Deregistered, Error, Invalid, Lost, Owner, Reclaim, Reclaimed, RegistrationId, Result, Service,
    ServiceKey,
};
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};

/// How often a session moves at least, while it has something to do.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);
/// How much longer than the session a caller waits for it. The session keeps its bounds itself
/// unless its runtime is not driven.
const GRACE: Duration = Duration::from_secs(1);

/// The channel is unbounded: every handle has a bounded number of requests in it.
pub(super) type Receiver = mpsc::UnboundedReceiver<Request>;

pub(super) enum Request {
    Put(PutRequest),
    Remove {
        service: ServiceKey,
        scope: Scope,
        why: Lost,
        reply: Option<RemovalReply>,
    },
    /// Removes what took the key of registration `id`, if it has this value and no lease.
    RemoveUnleased {
        service: ServiceKey,
        id: RegistrationId,
        value: Bytes,
        reply: Option<RemovalReply>,
    },
    /// The handle of registration `id` was dropped.
    Dropped {
        service: ServiceKey,
        id: RegistrationId,
    },
}

/// Which registrations of a service a removal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    OwnedBy(Owner),
    /// Those that are older than this registration of another session.
    OlderThan(RegistrationId),
}

impl Scope {
    pub(super) fn includes(self, id: RegistrationId, owner: Owner) -> bool {
        match self {
            Self::All => true,
            Self::OwnedBy(only) => owner == only,
            Self::OlderThan(newer) => id < newer,
        }
    }
}

impl Request {
    pub(super) fn service(&self) -> &ServiceKey {
        match self {
            Self::Put(put) => &put.service,
            Self::Remove { service, .. }
            | Self::RemoveUnleased { service, .. }
            | Self::Dropped { service, .. } => service,
        }
    }
}

#[derive(Debug)]
pub(super) struct PutRequest {
    pub(super) id: RegistrationId,
    pub(super) owner: Owner,
    pub(super) service: ServiceKey,
    pub(super) value: Bytes,
    /// The registration that it reclaims. `None` takes the key over.
    pub(super) reclaims: Option<RegistrationId>,
    pub(super) reply: oneshot::Sender<Result<Reclaimed>>,
}

impl PutRequest {
    /// Whether its caller is gone.
    pub(super) fn is_cancelled(&self) -> bool {
        self.reply.is_closed()
    }

    pub(super) fn answer(self, answer: Result<Reclaimed>) {
        // Fails if the caller is gone.
        let _ = self.reply.send(answer);
    }
}

#[derive(Debug)]
pub(super) struct RemovalReply {
    pub(super) deadline: Instant,
    pub(super) to: oneshot::Sender<Result<Deregistered>>,
}

impl RemovalReply {
    pub(super) fn send(self, outcome: Result<Deregistered>) {
        // Fails if the caller is gone. The removal goes on.
        let _ = self.to.send(outcome);
    }
}

/// Sends requests to a session. The session ends when it is told to, not with its last handle.
#[derive(Clone)]
pub(crate) struct Requests {
    sender: mpsc::UnboundedSender<Request>,
    /// How often the session has moved.
    moves: Arc<AtomicU64>,
    /// What others do to the keys of the session.
    pub(super) sightings: Arc<Sightings>,
    pub(super) shared: Arc<Shared>,
    pub(super) options: Arc<Options>,
}

impl Requests {
    pub(super) fn new(shared: Arc<Shared>, options: Arc<Options>) -> (Self, Receiver) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let requests = Self {
            sender,
            moves: Arc::default(),
            sightings: Arc::default(),
            shared,
            options,
        };
        (requests, receiver)
    }

    /// Puts a service under its key, whoever holds that, as registration `id`.
    pub(crate) async fn register(
        &self,
        id: RegistrationId,
        service: &Service,
    ) -> Result<Reclaimed> {
        let owner = service.owner().unwrap_or_else(Owner::new);
        let (key, value) = (service.key.clone(), service.value.clone());
        self.put(id, owner, key, value, None).await
    }

    /// Removes what the service's owner has registered, or anybody if it has no owner. Returns what
    /// became of it, before `deadline`.
    pub(crate) async fn remove(
        &self,
        service: &Service,
        deadline: Instant,
    ) -> Result<Deregistered> {
        let (to, answer) = oneshot::channel();
        self.send(Request::Remove {
            service: service.key.clone(),
            scope: service.owner().map_or(Scope::All, Scope::OwnedBy),
            why: Lost::Deregistered,
            reply: Some(RemovalReply { deadline, to }),
        })?;
        match timeout_at(deadline + GRACE, answer).await {
            Ok(answer) => answer.map_err(|_| Error::Closed)?,
            Err(_) => Ok(Deregistered::Unconfirmed),
        }
    }

    /// Notes that the session moves.
    pub(super) fn moves(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a service that another session holds by now, as registration `id`. Does not wait.
    pub(crate) fn supersede(&self, id: RegistrationId, service: ServiceKey) {
        // Fails if the session has ended, and holds nothing.
        let _ = self.send(Request::Remove {
            service,
            scope: Scope::OlderThan(id),
            why: Lost::Superseded,
            reply: None,
        });
    }

    pub(super) fn reclaimer(&self, put: &PutRequest) -> Reclaimer {
        let requests = self.clone();
        Reclaimer {
            id: put.id,
            owner: put.owner,
            service: put.service.clone(),
            requests,
        }
    }

    async fn put(
        &self,
        id: RegistrationId,
        owner: Owner,
        service: ServiceKey,
        value: Bytes,
        reclaims: Option<RegistrationId>,
    ) -> Result<Reclaimed> {
        self.check_size(&service, &value)?;
        let (reply, answer) = oneshot::channel();
        self.send(Request::Put(PutRequest {
            id,
            owner,
            service,
            value,
            reclaims,
            reply,
        }))?;
        self.while_moving(answer)
            .await?
            .map_err(|_| Error::Closed)?
    }

    /// Waits for an answer of the session, but not if that does not move.
    async fn while_moving<T>(&self, answer: impl Future<Output = T>) -> Result<T> {
        let limit = self.options.request_timeout.max(4 * HEARTBEAT);
        let mut answer = pin!(answer);
        loop {
            let moves = self.moves.load(Ordering::Relaxed);
            if let Ok(answer) = timeout(limit, &mut answer).await {
                return Ok(answer);
            }
            if self.moves.load(Ordering::Relaxed) == moves {
                tracing::warn!(?limit, "the runtime of the etcd client does not run");
                return Err(Error::timeout("register", limit));
            }
        }
    }

    fn send(&self, request: Request) -> Result<()> {
        self.sender.send(request).map_err(|_| Error::Closed)
    }

    /// etcd's limit is for the whole request, not for the value.
    fn check_size(&self, service: &ServiceKey, value: &Bytes) -> Result<()> {
        let limit = self.options.max_request_bytes;
        let key = service.stem().as_str();
        let size = write::max_size(&self.options.namespace.full(key), value);
        if size <= limit {
            return Ok(());
        }
        let key: String = key.chars().take(64).collect();
        Err(Invalid::TooLarge { key, size, limit }.into())
    }
}

/// The reclaiming half of a registration. Dropping it removes the service.
pub(super) struct Reclaimer {
    id: RegistrationId,
    owner: Owner,
    service: ServiceKey,
    requests: Requests,
}

#[async_trait]
impl Reclaim for Reclaimer {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        let id = self.requests.shared.next_id(self.id.generation());
        let service = self.service.clone();
        let reclaims = Some(self.id);
        self.requests
            .put(id, self.owner, service, value, reclaims)
            .await
    }

    async fn remove_unleased(&self, value: Bytes) -> Result<Deregistered> {
        let deadline = Instant::now() + self.requests.options.deregister_timeout;
        let (to, answer) = oneshot::channel();
        self.requests.send(Request::RemoveUnleased {
            service: self.service.clone(),
            id: self.id,
            value,
            reply: Some(RemovalReply { deadline, to }),
        })?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Reclaimer {
    fn drop(&mut self) {
        let service = self.service.clone();
        // Fails if the session has ended, and holds nothing.
        let _ = self.requests.send(Request::Dropped {
            service,
            id: self.id,
        });
    }
}
