//! The scheme `etcd`.

use super::Target;
use sd_core::{Instancer, Invalid, Result};
use sd_etcd::{EtcdClient, EtcdClientBuilder};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// The port of an authority without one: etcd's, for clients.
const DEFAULT_PORT: u16 = 2379;

/// Resolves targets such as `etcd://10.0.0.1:2379,10.0.0.2:2379/hello`. The default port is 2379.
///
/// Targets with the same authorities, in any order, share one client. It ends with the last thing
/// that uses it, so that the resolver may outlive what it has resolved.
///
/// What does not belong into a target is set on the client's builder: users, certificates, timeouts,
/// a namespace. Encryption needs the feature `tls` of `sd-etcd`.
///
/// ```no_run
/// use sd_core::{Registrar, Service};
/// use sd_tower::{EtcdResolver, Resolvers, Target};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let password = std::env::var("ETCD_PASSWORD")?;
/// let etcd = EtcdResolver::new(move |client| client.user("discovery", &password));
///
/// // A provider of one service and consumer of others registers on the same client.
/// let target: Target = "etcd://10.0.0.1/hello".parse()?;
/// let registrar = Registrar::new(etcd.client(&target)?, Service::new("/services/a/1", "10.0.0.7:80")?);
///
/// let resolvers = Resolvers::new().with("etcd", move |target| Ok(etcd.resolve(target)?));
/// let hello = resolvers.resolve(target)?;
/// # Ok(())
/// # }
/// ```
///
/// For instancers with other options, such as a codec, give
/// [`Resolvers::with`](crate::Resolvers::with) a function that makes them on the
/// [client](Self::client).
#[derive(Clone)]
pub struct EtcdResolver(Arc<Inner>);

struct Inner {
    configure: Box<dyn Fn(EtcdClientBuilder) -> EtcdClientBuilder + Send + Sync>,
    /// By the endpoints, sorted. Those that were dropped leave with the next resolution.
    clients: Mutex<BTreeMap<Vec<String>, Weak<EtcdClient>>>,
}

impl EtcdResolver {
    /// A resolver whose clients are built with the options that `configure` sets. It is called once
    /// for each client.
    pub fn new(
        configure: impl Fn(EtcdClientBuilder) -> EtcdClientBuilder + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            configure: Box::new(configure),
            clients: Mutex::default(),
        }))
    }

    /// The client for the target's authorities, for other uses than following instances.
    ///
    /// All who resolve the same authorities share it, so do not
    /// [close](EtcdClient::close) it before they are done. Sends nothing.
    ///
    /// # Errors
    /// [`Invalid::Config`] if the target has no authority, or the options contradict each other.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn client(&self, target: &Target) -> Result<Arc<EtcdClient>> {
        let authorities = target.authorities().iter();
        let mut endpoints: Vec<String> = authorities.map(|it| it.or_port(DEFAULT_PORT)).collect();
        if endpoints.is_empty() {
            let missing = "the target names no etcd, such as etcd://10.0.0.1:2379/hello";
            return Err(Invalid::Config(missing.into()).into());
        }
        endpoints.sort_unstable();
        endpoints.dedup();
        if let Some(client) = self.existing(&endpoints) {
            return Ok(client);
        }
        // Without the lock, since it is the program's code. Of two who do this, one takes the
        // other's client.
        let builder = (self.0.configure)(EtcdClient::builder(endpoints.clone()));
        let client = Arc::new(builder.build()?);
        let mut clients = self.clients();
        let entry = clients.entry(endpoints).or_default();
        let earlier = entry.upgrade();
        if earlier.is_none() {
            *entry = Arc::downgrade(&client);
        }
        drop(clients);
        Ok(earlier.unwrap_or(client))
    }

    /// Follows the instances that the target names.
    ///
    /// # Errors
    /// Those of [`client`](Self::client).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn resolve(&self, target: &Target) -> Result<Instancer> {
        Ok(target.instancer(self.client(target)?)?)
    }

    fn existing(&self, endpoints: &[String]) -> Option<Arc<EtcdClient>> {
        let mut clients = self.clients();
        clients.retain(|_, client| client.strong_count() > 0);
        clients.get(endpoints)?.upgrade()
    }

    fn clients(&self) -> MutexGuard<'_, BTreeMap<Vec<String>, Weak<EtcdClient>>> {
        let clients = self.0.clients.lock();
        clients.unwrap_or_else(PoisonError::into_inner)
    }
}

/// For an etcd without users and encryption.
impl Default for EtcdResolver {
    fn default() -> Self {
        Self::new(|client| client)
    }
}

impl fmt::Debug for EtcdResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = self.clients().len();
        f.debug_struct("EtcdResolver")
            .field("clients", &clients)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ResolveError, Resolvers};
    use sd_core::Error;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A resolver, and how many clients it has configured.
    fn counting() -> (EtcdResolver, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let counted = count.clone();
        let resolver = EtcdResolver::new(move |client| {
            counted.fetch_add(1, Ordering::Relaxed);
            client.user("discovery", "secret")
        });
        (resolver, count)
    }

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn targets_on_one_registry_share_its_client() {
        let (etcd, count) = counting();
        let client = etcd
            .client(&target("etcd://127.0.0.1:2379,127.0.0.2/hello"))
            .unwrap();
        for same in [
            "etcd://127.0.0.1,127.0.0.2/other",
            "etcd://127.0.0.2:2379,127.0.0.1:2379,127.0.0.2/hello?zone=n",
        ] {
            let same = etcd.clone().client(&target(same)).unwrap();
            assert!(Arc::ptr_eq(&client, &same));
        }
        let other = etcd.client(&target("etcd://127.0.0.1:2380/hello")).unwrap();
        assert!(!Arc::ptr_eq(&client, &other));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_client_ends_with_the_last_that_uses_it() {
        let (etcd, count) = counting();
        let hello = target("etcd://127.0.0.1:2379/hello");
        let client = etcd.client(&hello).unwrap();
        let instancer = etcd.resolve(&hello).unwrap();
        let weak = Arc::downgrade(&client);
        drop(client);
        assert!(weak.strong_count() > 0, "the instancer has it");
        instancer.stop().await;
        drop(instancer);
        assert_eq!(weak.strong_count(), 0);
        etcd.client(&hello).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 2);
        etcd.client(&target("etcd://127.0.0.1:2380/hello")).unwrap();
        assert_eq!(etcd.clients().len(), 1, "those that are gone are forgotten");
    }

    #[tokio::test]
    async fn what_etcd_cannot_be_reached_with_is_refused_at_once() {
        let resolvers = Resolvers::new();
        let Err(ResolveError::Resolver { source, .. }) = resolvers.resolve("etcd:///hello") else {
            panic!("no etcd is named");
        };
        assert!(source.to_string().contains("names no etcd"), "{source}");
        let wrong = EtcdResolver::new(|client| client.page_size(0));
        let error = wrong
            .resolve(&target("etcd://127.0.0.1/hello"))
            .unwrap_err();
        assert!(
            matches!(error, Error::Invalid(Invalid::Config(_))),
            "{error}"
        );
    }
}
