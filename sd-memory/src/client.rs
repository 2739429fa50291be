//! The client: one process that uses the registry.

use crate::{ClientOptions, Stored, session::Session, shared::Shared, store::Store, watch};
use sd_core::{
    Bytes, Client, Deregistered, Editor, Entry, Error, FencedEntry, Invalid, Key, LeaseId, Prefix,
    Registration, Result, Revision, Service, ServiceKey, Snapshot, Watch, WatchError, async_trait,
};
use std::sync::Arc;

/// A [`Client`] of a [`Registry`](crate::Registry), with its own leases. Simulates one process.
///
/// Clones are the same client. When the last clone is dropped, everything that the client started
/// ends: its leases are revoked if the registry answers at that moment, and expire otherwise; its
/// watches are interrupted. [`close`](Self::close) does the same and waits. After
/// [`crash`](Self::crash) the leases expire.
///
/// A call that times out or is dropped has no effect.
#[derive(Debug, Clone)]
pub struct MemoryClient(Arc<Owner>);

impl MemoryClient {
    pub(crate) fn new(registry: &Arc<Shared>, options: ClientOptions) -> Self {
        Self(Arc::new(Owner(Arc::new(Session::new(registry, options)))))
    }

    /// Ends everything that this client started, and waits for it: leases are revoked, watches are
    /// interrupted, registrations are [lost](sd_core::Lost::Closed), tasks end. Every later call
    /// returns [`Error::Closed`]. If the registry does not answer within the deregister timeout
    /// ([`ClientOptions::with_deregister_timeout`](crate::ClientOptions::with_deregister_timeout)),
    /// the leases expire.
    ///
    /// Cancellation safe: if the future is dropped, the client is closed and its leases expire.
    pub async fn close(&self) {
        self.session().close().await;
    }

    /// Ends the client like a killed process: it sends nothing to the registry, and its entries
    /// stay until their leases expire. Every later call returns [`Error::Closed`].
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
/// They do not affect the registry or its other clients.
impl MemoryClient {
    /// Cuts the client off from the registry, like a network that drops every packet. Its calls
    /// wait for their timeout. Its watches report a disruption and then an interruption. Its leases
    /// expire, since nothing keeps them alive; the client learns of that when it is
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

    /// Ends [`cut_off`](Self::cut_off): waiting calls go through, and the client learns what it
    /// missed.
    pub fn reconnect(&self) {
        let client = self.session().id();
        self.session().registry().change_condition(|state, _| {
            if state.cut_off.remove(&client).is_some() {
                tracing::info!(client, "a client reaches the registry again");
            }
        });
    }

    /// Like [`Registry::fail_next`](crate::Registry::fail_next), for the calls of this client only.
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

#[async_trait]
impl Editor for MemoryClient {
    async fn get_entry(&self, key: &Key) -> Result<Option<FencedEntry>> {
        self.session()
            .call(
                "get_entry",
                |calls| &mut calls.edits,
                |state| {
                    let stored = state.store.get(key.as_str())?;
                    let entry = Entry::new(key.clone(), stored.value.clone());
                    let entry = entry.with_lease(stored.lease.clone());
                    Some(FencedEntry::new(entry, fence(&state.store, stored)))
                },
            )
            .await
    }

    async fn replace_entry(&self, read: &FencedEntry, value: Bytes) -> Result<bool> {
        check_size(self.session(), &read.entry.key.clone().into(), &value)?;
        let key = read.entry.key.clone();
        self.session()
            .call(
                "replace_entry",
                |calls| &mut calls.edits,
                |state| {
                    let Some(stored) = standing(&state.store, read) else {
                        return false;
                    };
                    let lease = stored.lease.clone();
                    state.store.put(key, value, lease.as_ref());
                    true
                },
            )
            .await
    }

    async fn delete_entry(&self, read: &FencedEntry) -> Result<bool> {
        self.session()
            .call(
                "delete_entry",
                |calls| &mut calls.edits,
                |state| {
                    standing(&state.store, read).is_some()
                        && state.store.delete(&read.entry.key).is_some()
                },
            )
            .await
    }
}

/// The id of the history, and the revision of the last put.
fn fence(store: &Store, stored: &Stored) -> Revision {
    Revision::new((store.history().id(), stored.modified))
}

/// The entry that was read, if it still stands.
fn standing<'s>(store: &'s Store, read: &FencedEntry) -> Option<&'s Stored> {
    let stored = store.get(read.entry.key.as_str())?;
    (fence(store, stored) == read.fence).then_some(stored)
}

/// Ends the session with the last clone of a client.
#[derive(Debug)]
struct Owner(Arc<Session>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.drop_all();
    }
}

/// Refuses an entry that is too large for etcd, before anything is sent.
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
