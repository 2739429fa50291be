//! The client: what users hold, and what it owns.

use crate::{
    config::{Endpoint, Options},
    connection::{Authenticator, Connector, Dialer, Members, follow_members, warn_of_plain_text},
    errors,
    registering::{self, Shared, edits, own_keys, session},
    support,
    watching::{self, multiplexer},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use sd_core::{
    Client, Deregistered, Editor, Error, Escaped, FencedEntry, Generation, Key, LeaseId, Prefix,
    Reclaimed, Registration, Result, Revision, Service, Snapshot, Ttl, Watch, WatchError,
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// How long a task that ought to have ended is waited for, in case that it does not run.
const UNDRIVEN_GRACE: Duration = Duration::from_secs(1);

/// A registry in etcd, v3.4 or later.
///
/// A client has at most two connections, each to one member at a time: one for reads and the watch
/// stream, one for leases and writes. It leaves a member that does not answer for the next one.
///
/// A clone is another handle of the same client. [`close`](Self::close) ends all that the client
/// started and waits for it. Dropping the last handle ends it without waiting.
///
/// Its tasks run on the runtime of whoever made it, and of whoever first registered a service of a
/// TTL. When such a runtime ends, or a task panics, the client is closed. While a runtime exists but
/// is not driven, registrations are [unproven](sd_core::Registration::proof) after their TTL, calls
/// that register return [`Error::Timeout`], and a deregistration is unconfirmed.
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
    options: Arc<Options>,
    /// For reads and watches.
    reads: Arc<Connector>,
    /// For leases and writes.
    leases: Arc<Connector>,
    members: Arc<Members>,
    authenticator: Option<Arc<Authenticator>>,
    watches: watching::Requests,
    sessions: Mutex<BTreeMap<Ttl, registering::Requests>>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends the tasks when the last handle is dropped.
    _stop_on_drop: DropGuard,
}

impl EtcdClient {
    /// Starts a client with options that were checked.
    pub(crate) fn start(options: Options, endpoints: Vec<Endpoint>) -> Self {
        let options = Arc::new(options);
        warn_of_plain_text(&options, &endpoints);
        let members = Arc::new(Members::new(endpoints));
        let authenticator = options.credentials.clone().map(|credentials| {
            Arc::new(Authenticator::new(
                credentials,
                options.requires_auth,
                options.authentication_timeout,
                options.dial_timeout,
            ))
        });
        let token = authenticator.as_ref().map(|it| it.token());
        let dialer = Arc::new(Dialer::new(options.clone(), token));
        let connector = |purpose| {
            Arc::new(Connector::new(
                options.clone(),
                members.clone(),
                dialer.clone(),
                authenticator.clone(),
                purpose,
            ))
        };
        let (reads, leases) = (connector("watches"), connector("leases"));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (watches, multiplexer) = multiplexer::new(reads.clone(), options.clone(), stop.clone());
        support::spawn(&tasks, &stop, "watches", multiplexer);
        if let Some(interval) = options.member_refresh {
            let connectors = [reads.clone(), leases.clone()];
            let (members, options) = (members.clone(), options.clone());
            let following = follow_members(connectors, members, options, interval, stop.clone());
            support::spawn(&tasks, &stop, "members", following);
        }
        Self(Arc::new(Inner {
            options,
            reads,
            leases,
            members,
            authenticator,
            watches,
            sessions: Mutex::default(),
            shared: Arc::default(),
            tasks,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }))
    }

    /// Ends all that this client started, and waits for it.
    ///
    /// Watches end as interrupted, and registrations as [`Lost::Closed`](sd_core::Lost::Closed). The
    /// leases are revoked, which removes their entries. If etcd does not answer within the deregister
    /// timeout, they expire. Every later call returns [`Error::Closed`].
    ///
    /// Takes little longer than that timeout, and a second more than twice as long if the runtime of
    /// the client is not driven.
    ///
    /// May be called on any handle, and more than once. Goes on in the background if the future is
    /// dropped.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        let limit = self.0.options.deregister_timeout * 2 + UNDRIVEN_GRACE;
        if timeout(limit, self.0.tasks.wait()).await.is_err() {
            tracing::warn!(
                ?limit,
                "closed without waiting: the runtime of the etcd client does not run"
            );
        }
        self.0.reads.disconnect();
        self.0.leases.disconnect();
        if let Some(authenticator) = &self.0.authenticator {
            authenticator.stop();
        }
    }

    /// Returns the TTL that etcd has granted to the lease of [`lease_id`](Client::lease_id), once the
    /// lease was renewed. It is longer than the service's if that is less than one and a half election
    /// timeouts of etcd's, which is logged.
    pub fn granted_ttl(&self) -> Option<Ttl> {
        self.0.shared.newest_ttl()
    }

    /// Replaces the endpoints while the client runs.
    ///
    /// A connection to a member that is not among them moves to one that is: watches resume there, and
    /// leases are kept. Other connections are not touched. Sends nothing by itself.
    ///
    /// ```no_run
    /// # async fn example(client: sd_etcd::EtcdClient) -> sd_core::Result<()> {
    /// // Member 1 is about to be replaced by member 4.
    /// client.set_endpoints(["http://10.0.0.2:2379", "http://10.0.0.3:2379", "http://10.0.0.4:2379"])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`EtcdClientBuilder::follow_members`](crate::EtcdClientBuilder::follow_members) learns the
    /// members from the cluster instead.
    ///
    /// # Errors
    /// [`Invalid::Config`](sd_core::Invalid::Config) if there is no endpoint, one is not a URL, or one
    /// is encrypted and the client is not, or the other way round. Then nothing changes.
    /// [`Error::Closed`] after [`close`](Self::close).
    pub fn set_endpoints<S: Into<String>>(
        &self,
        endpoints: impl IntoIterator<Item = S>,
    ) -> Result<()> {
        let inner = self.open()?;
        let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        let endpoints = inner.options.members(&endpoints)?;
        warn_of_plain_text(&inner.options, &endpoints);
        inner.members.set(endpoints);
        tracing::info!(endpoints = %Escaped(format_args!("{:?}", inner.members.get())), "endpoints replaced");
        inner.reads.members_changed();
        inner.leases.members_changed();
        Ok(())
    }

    fn open(&self) -> Result<&Inner> {
        if self.0.stop.is_cancelled() {
            return Err(Error::Closed);
        }
        Ok(&self.0)
    }
}

impl Inner {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Ttl, registering::Requests>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the session of this TTL, and starts it if there is none.
    fn session(&self, ttl: Ttl) -> registering::Requests {
        let mut sessions = self.sessions();
        if sessions.is_empty() {
            let watching = own_keys::watch(
                self.shared.own_keys.clone(),
                self.leases.clone(),
                self.options.clone(),
                self.stop.clone(),
            );
            support::spawn(&self.tasks, &self.stop, "own keys", watching);
        }
        sessions
            .entry(ttl)
            .or_insert_with(|| {
                let (requests, session) = session::new(
                    self.leases.clone(),
                    self.options.clone(),
                    self.shared.clone(),
                    ttl,
                    self.stop.clone(),
                );
                support::spawn(&self.tasks, &self.stop, "leases", session);
                requests
            })
            .clone()
    }

    fn other_sessions(&self, ttl: Ttl) -> Vec<registering::Requests> {
        let sessions = self.sessions();
        let others = sessions.iter().filter(|(other, _)| **other != ttl);
        others.map(|(_, session)| session.clone()).collect()
    }
}

#[async_trait]
impl Client for EtcdClient {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        let inner = self.open()?;
        inner.options.namespace.check(prefix.as_str())?;
        tokio::select! {
            () = inner.stop.cancelled() => Err(Error::Closed),
            snapshot = watching::list(&inner.reads, &inner.options, prefix) => snapshot,
        }
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        let inner = self.open().map_err(WatchError::Interrupted)?;
        let checked = inner.options.namespace.check(prefix.as_str());
        checked.map_err(|why| WatchError::Interrupted(why.into()))?;
        tokio::select! {
            () = inner.stop.cancelled() => Err(WatchError::Interrupted(Error::Closed)),
            watch = inner.watches.watch(prefix, after) => watch,
        }
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        let inner = self.open()?;
        inner.options.namespace.check(service.key.stem().as_str())?;
        let session = inner.session(service.ttl);
        let generation = service.generation().unwrap_or_else(Generation::new);
        let id = inner.shared.next_id(generation);
        match session.register(id, service).await? {
            Reclaimed::Held(registration) => {
                for other in inner.other_sessions(service.ttl) {
                    other.supersede(id, service.key.clone());
                }
                Ok(registration)
            }
            // Only a reclaim is answered so.
            Reclaimed::Taken { .. } => Err(errors::contended("the key was taken meanwhile")),
        }
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        let inner = self.open()?;
        let deadline = Instant::now() + inner.options.deregister_timeout;
        let sessions: Vec<_> = inner.sessions().values().cloned().collect();
        // All are asked at once, so that none goes on putting while another is waited for.
        let removals = sessions
            .iter()
            .map(|session| session.remove(service, deadline));
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
        self.0.shared.newest_lease()
    }
}

/// Cost one request each, on the connection for leases and writes.
#[async_trait]
impl Editor for EtcdClient {
    async fn get_entry(&self, key: &Key) -> Result<Option<FencedEntry>> {
        let inner = self.open()?;
        inner.options.namespace.check(key.as_str())?;
        tokio::select! {
            () = inner.stop.cancelled() => Err(Error::Closed),
            entry = edits::read(&inner.leases, &inner.options, key) => entry,
        }
    }

    async fn replace_entry(&self, read: &FencedEntry, value: Bytes) -> Result<bool> {
        let inner = self.open()?;
        tokio::select! {
            () = inner.stop.cancelled() => Err(Error::Closed),
            done = edits::replace(&inner.leases, &inner.options, read, value) => done,
        }
    }

    async fn delete_entry(&self, read: &FencedEntry) -> Result<bool> {
        let inner = self.open()?;
        tokio::select! {
            () = inner.stop.cancelled() => Err(Error::Closed),
            done = edits::delete(&inner.leases, &inner.options, read) => done,
        }
    }
}

impl fmt::Debug for EtcdClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdClient")
            .field("endpoints", &self.0.members.get())
            .finish_non_exhaustive()
    }
}
