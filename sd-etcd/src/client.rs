//! The client: what users hold, and what it owns.

use crate::{
    builder::EtcdClientBuilder,
    config::Config,
    door::{Door, Shared},
    error,
    feed::Feed,
    hub::{self, Command, Commands, Request},
    link::Link,
    list,
    revision::Token,
    session,
};
use async_trait::async_trait;
use futures::{future::join_all, stream};
use sd_core::{
    Client, Deregistered, Error, LeaseId, Prefix, Reclaimed, Registration, Result, Revision,
    Service, Snapshot, Ttl, Watch, WatchError,
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// A registry in etcd, v3.4 or later.
///
/// Two connections at most, each to one member at a time: one carries reads and the one watch
/// stream, the other the leases and what hangs on them. A member that does not answer is left for
/// the next. Cloning gives another handle on the same client; dropping the last stops all that it
/// started, and [`close`](Self::close) also waits for it.
///
/// ```no_run
/// use sd_core::{Client, Service};
/// use sd_etcd::EtcdClient;
///
/// # async fn example() -> sd_core::Result<()> {
/// let client = EtcdClient::connect(["http://127.0.0.1:2379"])?;
/// let service = Service::new("/services/hello/10.0.0.1:8080", "10.0.0.1:8080")?;
/// let registration = client.register(&service).await?;
/// // Serve ...
/// client.deregister(&service).await?;
/// client.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EtcdClient(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    /// Carries reads and watches.
    reads: Arc<Link>,
    /// Carries leases and writes.
    leases: Arc<Link>,
    watches: Commands,
    watch_ids: AtomicU64,
    sessions: Mutex<BTreeMap<Ttl, Door>>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Stops everything when the last handle goes.
    _stop_on_drop: DropGuard,
}

impl EtcdClient {
    /// A client with the default options. Nothing is sent until it is used; call it within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Invalid::Config`](sd_core::Invalid::Config) if there is no endpoint or one is not a URL.
    pub fn connect<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::builder(endpoints).build()
    }

    /// Options for a client of these endpoints, such as `http://10.0.0.1:2379`.
    pub fn builder<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> EtcdClientBuilder {
        EtcdClientBuilder::new(endpoints.into_iter().map(Into::into).collect())
    }

    pub(crate) fn start(config: Config) -> Self {
        let config = Arc::new(config);
        let reads = Arc::new(Link::new(config.clone(), "watches"));
        let leases = Arc::new(Link::new(config.clone(), "leases"));
        let (watches, commands) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(hub::run(
            reads.clone(),
            config.clone(),
            commands,
            stop.clone(),
        ));
        Self(Arc::new(Inner {
            config,
            reads,
            leases,
            watches,
            watch_ids: AtomicU64::new(0),
            sessions: Mutex::default(),
            shared: Arc::default(),
            tasks,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }))
    }

    /// Ends everything that this client started and waits for it: watches end as interrupted,
    /// registrations as [`Lost::Closed`](sd_core::Lost::Closed), leases are revoked and with them
    /// the entries. Bounded by the deregister timeout; what etcd could not be told ends with its
    /// lease. Every call after it answers [`Error::Closed`].
    ///
    /// May be called on any handle, more than once; goes on in the background when the future is
    /// dropped.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.reads.disconnect();
        self.0.leases.disconnect();
    }

    fn open(&self) -> Result<&Inner> {
        if self.0.stop.is_cancelled() {
            return Err(Error::Closed);
        }
        Ok(&self.0)
    }
}

impl Inner {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Ttl, Door>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of this TTL, opened if there is none.
    fn session(&self, ttl: Ttl) -> Door {
        self.sessions()
            .entry(ttl)
            .or_insert_with(|| {
                let (door, session) = session::open(
                    self.leases.clone(),
                    self.config.clone(),
                    self.shared.clone(),
                    ttl,
                    self.stop.clone(),
                );
                self.tasks.spawn(session);
                door
            })
            .clone()
    }

    fn others(&self, ttl: Ttl) -> Vec<Door> {
        let sessions = self.sessions();
        let others = sessions.iter().filter(|(other, _)| **other != ttl);
        others.map(|(_, door)| door.clone()).collect()
    }
}

#[async_trait]
impl Client for EtcdClient {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        let inner = self.open()?;
        tokio::select! {
            () = inner.stop.cancelled() => Err(Error::Closed),
            snapshot = list::list(&inner.reads, &inner.config, prefix) => snapshot,
        }
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        let inner = self.open().map_err(WatchError::Interrupted)?;
        let token = Token::of(after)?;
        let feed = Arc::new(Feed::new(inner.config.max_message_bytes));
        let (opened, answer) = oneshot::channel();
        let reading = Reading {
            id: inner.watch_ids.fetch_add(1, Ordering::Relaxed),
            feed: feed.clone(),
            watches: inner.watches.clone(),
        };
        let start = inner.config.namespace.full(prefix.as_str());
        let request = Request {
            id: reading.id,
            start: start.clone(),
            token: token.clone(),
            feed,
            opened,
        };
        let closed = || WatchError::Interrupted(Error::Closed);
        inner
            .watches
            .send(Command::Watch(request))
            .map_err(|_| closed())?;
        let opened = answer.await.map_err(|_| closed())??;
        let check = async {
            let Some(epoch) = opened else {
                // Denied, or the stream's token has expired: this is answered with a valid one.
                list::is_allowed(&inner.reads, &inner.config, prefix).await?;
                inner.watches.send(Command::Renew).map_err(|_| closed())?;
                return Err(WatchError::Interrupted(hub::expired()));
            };
            token.verify(&inner.reads, &inner.config, start).await?;
            Ok(epoch)
        };
        let epoch = tokio::select! {
            () = inner.stop.cancelled() => return Err(closed()),
            epoch = check => epoch?,
        };
        if *inner.reads.epochs().borrow() != epoch {
            return Err(WatchError::Interrupted(Error::unavailable(
                "the connection was given up while the watch was started",
            )));
        }
        Ok(Watch::new(stream::unfold(reading, async |reading| {
            let item = reading.feed.next().await?;
            Some((item, reading))
        })))
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        let inner = self.open()?;
        let session = inner.session(service.ttl);
        let put = session.put(service.key.clone(), service.value.clone(), None);
        match put.await? {
            Reclaimed::Held(registration) => {
                for other in inner.others(service.ttl) {
                    other.supersede(service.key.clone());
                }
                Ok(registration)
            }
            // Only a guarded put is answered so.
            Reclaimed::Taken { .. } => Err(error::contended("the key was taken meanwhile")),
        }
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        let inner = self.open()?;
        let deadline = Instant::now() + inner.config.deregister_timeout;
        let sessions: Vec<Door> = inner.sessions().values().cloned().collect();
        // All hear of it at once: none goes on putting while another is waited for.
        let removals = sessions
            .iter()
            .map(|session| session.remove(service.key.clone(), deadline));
        let mut outcome = Deregistered::NotOurs;
        for removal in join_all(removals).await {
            outcome = match (outcome, removal?) {
                (Deregistered::Unconfirmed, _) | (_, Deregistered::Unconfirmed) => {
                    Deregistered::Unconfirmed
                }
                (Deregistered::Removed, _) | (_, Deregistered::Removed) => Deregistered::Removed,
                _ => Deregistered::NotOurs,
            };
        }
        Ok(outcome)
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.0.shared.lease()
    }
}

impl fmt::Debug for EtcdClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdClient")
            .field("endpoints", &self.0.config.endpoints)
            .finish_non_exhaustive()
    }
}

/// The reader's side of a watch; the watch at etcd ends with it.
struct Reading {
    id: u64,
    feed: Arc<Feed>,
    watches: Commands,
}

impl Drop for Reading {
    fn drop(&mut self) {
        // A hub that has ended watches nothing.
        let _ = self.watches.send(Command::Cancel(self.id));
    }
}
