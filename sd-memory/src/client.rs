//! The client: the registry as one process sees it.

use crate::{ClientOptions, session::Session, shared::Shared, watch};
use sd_core::{
    Bytes, Client, Deregistered, Error, Invalid, LeaseId, Prefix, Registration, Result, Revision,
    Service, ServiceKey, Snapshot, Watch, WatchError, async_trait,
};
use std::sync::Arc;

/// A [`Client`] of a [`Registry`](crate::Registry), with its own leases. Stands for one process.
///
/// Clones are the same client. When the last is dropped, everything that it started ends: its
/// leases are revoked if the registry answers at that moment, and run out otherwise; its watches
/// are interrupted. [`close`](Self::close) does the same and waits, [`crash`](Self::crash) leaves
/// the leases to run out.
///
/// A call that times out or is dropped had no effect.
#[derive(Debug, Clone)]
pub struct MemoryClient(Arc<Owner>);

impl MemoryClient {
    pub(crate) fn new(registry: &Arc<Shared>, options: ClientOptions) -> Self {
        Self(Arc::new(Owner(Arc::new(Session::new(registry, options)))))
    }

    /// Ends all that this client started, and waits for it: leases are revoked, watches are
    /// interrupted, registrations are [lost](sd_core::Lost::Closed), tasks have ended. Every later
    /// call answers [`Error::Closed`]. A registry that does not answer is waited for as long as
    /// in [`deregister`](Client::deregister); the leases run out then.
    ///
    /// Cancellation safe: when dropped, the client is closed and its leases run out.
    pub async fn close(&self) {
        self.session().close().await;
    }

    /// Ends as a killed process does: the registry is told nothing, and the client's entries stay
    /// until their leases run out. Every later call answers [`Error::Closed`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sd_core::{Client, Service, Ttl};
    /// use sd_memory::Registry;
    /// use std::time::Duration;
    ///
    /// tokio::time::pause();
    /// let registry = Registry::new();
    /// let provider = registry.client();
    /// let service = Service::new("/services/hello/a", "10.0.0.1:80")?.with_ttl(Ttl::from_secs(5)?);
    /// let _registration = provider.register(&service).await?;
    /// provider.crash();
    /// assert!(registry.get("/services/hello/a").is_some());
    /// tokio::time::sleep(Duration::from_secs(5)).await;
    /// assert!(registry.get("/services/hello/a").is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn crash(&self) {
        self.session().abandon();
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.0.0
    }
}

/// # Faults of this client alone
///
/// The registry goes on, and so do its other clients.
impl MemoryClient {
    /// Cuts the client off from the registry, as a network does that drops every packet. Its calls
    /// wait for their timeout; its watches fall silent and report a disruption and then an
    /// interruption. Its leases run out, since nothing keeps them alive. It learns of that when it is
    /// [reconnected](Self::reconnect).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sd_core::{Client, Lost, Service};
    /// use sd_memory::Registry;
    ///
    /// tokio::time::pause();
    /// let registry = Registry::new();
    /// let provider = registry.client();
    /// let service = Service::new("/services/hello/a", "10.0.0.1:80")?;
    /// let mut registration = provider.register(&service).await?;
    ///
    /// provider.cut_off();
    /// tokio::time::sleep(2 * service.ttl.duration()).await;
    /// assert!(registry.get("/services/hello/a").is_none());
    /// assert_eq!(registration.loss(), None);
    ///
    /// provider.reconnect();
    /// assert_eq!(registration.lost().await, Lost::LeaseExpired);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cut_off(&self) {
        let client = self.session().id();
        self.session().registry().change_condition(|state, now| {
            state.cut_off.entry(client).or_insert_with(|| {
                tracing::warn!(client, "a client is cut off from the registry");
                now
            });
        });
    }

    /// Ends a [partition](Self::cut_off): calls that wait go through, and the client learns what it
    /// missed.
    pub fn reconnect(&self) {
        let client = self.session().id();
        self.session().registry().change_condition(|state, _| {
            if state.cut_off.remove(&client).is_some() {
                tracing::info!(client, "a client reaches the registry again");
            }
        });
    }

    /// Answers the next `calls` calls of this client with `error`; as
    /// [`Registry::fail_next`](crate::Registry::fail_next) otherwise.
    pub fn fail_next(&self, calls: usize, error: Error) {
        let client = self.session().id();
        self.session()
            .registry()
            .change_condition(|state, _| state.failures.add(Some(client), calls, error));
    }
}

#[async_trait]
impl Client for MemoryClient {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        self.session()
            .call(
                "get_entries",
                |calls| &mut calls.lists,
                |state| {
                    let history = state.store.history();
                    let entries = state.store.under(prefix).collect();
                    Snapshot::new(entries, history.token(history.revision()))
                },
            )
            .await
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        watch::open(self.session(), prefix, after).await
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        check_size(self.session(), &service.key, &service.value)?;
        self.session().register(service).await
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        self.session().deregister(service).await
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.session().lease()
    }
}

/// Ends the session with the last clone of a client.
#[derive(Debug)]
struct Owner(Arc<Session>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.drop_all();
    }
}

/// Refuses what etcd would refuse, before anything happens.
pub(crate) fn check_size(session: &Session, key: &ServiceKey, value: &Bytes) -> Result<()> {
    if session.is_closed() {
        return Err(Error::Closed);
    }
    let key = key.stem().as_str();
    let size = key.len() + value.len();
    let limit = session.options().request_limit;
    if size <= limit {
        return Ok(());
    }
    Err(Error::Invalid(Invalid::TooLarge {
        key: key.chars().take(100).collect(),
        size,
        limit,
    }))
}
