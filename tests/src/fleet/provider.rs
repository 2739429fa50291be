//! A provider with its own client.

use crate::{
    etcd::Etcd,
    eventually::{PATIENCE, eventually},
};
use sd_core::{Client, Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use tokio::time::timeout;

/// Stands for a process that has registered one service with its own client.
#[derive(Debug)]
pub struct Provider<C = EtcdClient> {
    client: C,
    registrar: Registrar,
    key: String,
}

impl Provider<EtcdClient> {
    /// Registers `address` under `key` at the registry behind `endpoint`, with the shortest TTL.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn start(endpoint: impl Into<String>, key: &str, address: &'static str) -> Self {
        let service = Service::new(key, address)
            .expect("a key")
            .with_ttl(Ttl::MIN);
        Self::with(endpoint, key, |client| Registrar::new(client, service)).await
    }

    /// Like [`start`](Self::start), with this registrar.
    pub async fn with(
        endpoint: impl Into<String>,
        key: &str,
        registrar: impl FnOnce(EtcdClient) -> Registrar,
    ) -> Self {
        let client = EtcdClient::connect([endpoint]).expect("a URL");
        Self::on(client, key, registrar).await
    }

    /// Like [`start`](Self::start), with this client.
    pub async fn on(
        client: EtcdClient,
        key: &str,
        registrar: impl FnOnce(EtcdClient) -> Registrar,
    ) -> Self {
        Self::of(client, key, registrar).await
    }

    /// Its client's lease, as etcd writes it.
    pub fn lease(&self) -> Option<i64> {
        self.client.lease_id()?.as_str().parse().ok()
    }

    /// Waits until etcd has its entry on its client's lease, and returns the lease.
    pub async fn stands(&self, etcd: &Etcd) -> i64 {
        let held = || async {
            let entry = etcd.entry(self.key.as_str()).await;
            (entry.map(|entry| entry.lease()), self.lease())
        };
        let stands = |(there, said): &(Option<i64>, Option<i64>)| there.is_some() && there == said;
        let (lease, _) = eventually(PATIENCE, "the entry on our lease", held, stands).await;
        lease.expect("it was waited for")
    }
}

impl<C: Client + Clone> Provider<C> {
    pub(crate) async fn of(client: C, key: &str, registrar: impl FnOnce(C) -> Registrar) -> Self {
        let registrar = registrar(client.clone());
        let registered = timeout(PATIENCE, registrar.register()).await;
        registered.expect("registered in time").expect("registered");
        Self {
            client,
            registrar,
            key: key.to_owned(),
        }
    }

    /// Its client.
    pub fn client(&self) -> &C {
        &self.client
    }

    /// Its registrar.
    pub fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    /// The key that it registered.
    pub fn key(&self) -> &str {
        &self.key
    }
}
