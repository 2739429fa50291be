//! Those who register and those who look: the two sides that a fault is seen from.

use crate::{Etcd, PATIENCE, eventually, process::Process};
use sd_core::{
    Balancer, Client, EndpointSource, Endpointer, Instancer, Prefix, Registrar, RoundRobin,
    Service, Ttl, factory_fn,
};
use sd_etcd::EtcdClient;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

/// How long removals wait after trouble in tests: longer than providers take to come back, short
/// enough to wait for.
const GRACE: Duration = Duration::from_secs(4);

/// A process that has registered one service, with a client of its own.
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

    /// The same with a registrar of the test's own making.
    pub async fn with(
        endpoint: impl Into<String>,
        key: &str,
        registrar: impl FnOnce(EtcdClient) -> Registrar,
    ) -> Self {
        let client = EtcdClient::connect([endpoint]).expect("a URL");
        Self::on(client, key, registrar).await
    }

    /// The same with a client of the test's own making.
    pub async fn on(
        client: EtcdClient,
        key: &str,
        registrar: impl FnOnce(EtcdClient) -> Registrar,
    ) -> Self {
        Self::of(client, key, registrar).await
    }

    /// The lease that its client speaks of, as etcd writes it.
    pub fn lease(&self) -> Option<i64> {
        self.client.lease_id()?.as_str().parse().ok()
    }

    /// Waits until etcd has its entry on the lease that its client speaks of; gives the lease.
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

/// A provider that is a process of its own, to be frozen as such. Killed when dropped; its entry
/// then stays until its lease ends.
#[derive(Debug)]
pub struct RemoteProvider(Process);

impl RemoteProvider {
    /// Starts `program`, which is given the registry's endpoint, the key and the address; its output
    /// goes to the file `log`. It is registered when it is seen to be.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn start(program: &str, endpoint: String, key: &str, address: &str, log: &Path) -> Self {
        let arguments = [endpoint, key.to_owned(), address.to_owned()];
        Self(Process::spawn(Path::new(program), &arguments, log))
    }

    /// Stops it in its tracks (SIGSTOP); nothing of it runs any more.
    pub fn freeze(&mut self) {
        self.0.freeze();
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&mut self) {
        self.0.thaw();
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

    /// What keeps it registered.
    pub fn registrar(&self) -> &Registrar {
        &self.registrar
    }

    /// The key that it registered.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// A process that looks up the instances under one prefix, with a client of its own; ready from the
/// start.
#[derive(Debug)]
pub struct Consumer<C = EtcdClient> {
    client: C,
    instancer: Arc<Instancer>,
    balancer: RoundRobin<Endpointer<String>>,
    made: Arc<AtomicUsize>,
}

/// What a consumer sees at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The addresses of the instances, in the order of their keys.
    pub instances: Vec<String>,
    /// The addresses of the endpoints that calls can go to, in the order of their keys.
    pub endpoints: Vec<String>,
    /// The keys whose removal is doubted.
    pub held: Vec<String>,
    /// Whether the registry is followed at the moment.
    pub live: bool,
}

impl Consumer<EtcdClient> {
    /// Follows what is under `prefix` at the registry behind `endpoint`; removals after trouble are
    /// held for 4 s.
    ///
    /// Its watch may still be on its way. Start it before the providers: once it sees one of them,
    /// the watch is there.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn start(endpoint: impl Into<String>, prefix: &str) -> Self {
        let client = EtcdClient::connect([endpoint]).expect("a URL");
        Self::on(client, prefix).await
    }

    /// The same with a client of the test's own making.
    pub async fn on(client: EtcdClient, prefix: &str) -> Self {
        Self::of(client, prefix, GRACE).await
    }
}

impl<C: Client + Clone> Consumer<C> {
    pub(crate) async fn of(client: C, prefix: &str, grace: Duration) -> Self {
        let prefix = Prefix::new(prefix).expect("a prefix");
        let instancer = Instancer::builder(client.clone(), prefix).grace(grace);
        let instancer = Arc::new(instancer.build());
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let factory = factory_fn(move |instance| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(instance.address().to_owned())
        });
        let endpointer = Endpointer::new(instancer.clone(), factory);
        let ready = timeout(PATIENCE, endpointer.ready()).await;
        ready.expect("ready in time").expect("ready");
        Self {
            client,
            instancer,
            balancer: RoundRobin::new(endpointer),
            made,
        }
    }

    /// Its client.
    pub fn client(&self) -> &C {
        &self.client
    }

    /// What mirrors the prefix.
    pub fn instancer(&self) -> &Instancer {
        &self.instancer
    }

    /// What calls pick from.
    pub fn endpointer(&self) -> &Endpointer<String> {
        self.balancer.source()
    }

    /// The address that the next call would go to.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick(&self) -> String {
        let pick = self.balancer.endpoint().expect("somebody to call");
        pick.target().to_string()
    }

    /// How many endpoints were made so far: an instance that is kept keeps its endpoint.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// What it sees now.
    pub fn view(&self) -> View {
        let event = self.instancer.state().expect("it was ready");
        let instances = event.instances().iter();
        View {
            instances: instances.map(|it| it.address().to_owned()).collect(),
            endpoints: self
                .endpointer()
                .endpoints()
                .iter()
                .map(|it| it.target().to_string())
                .collect(),
            held: event.held().map(|(key, _)| key.to_string()).collect(),
            live: event.health().is_live(),
        }
    }

    /// Waits until it sees what `accept` likes.
    pub async fn sees(&self, what: &str, accept: impl Fn(&View) -> bool) -> View {
        eventually(PATIENCE, what, async || self.view(), accept).await
    }

    /// Waits until it has exactly these addresses to call, follows the registry, and doubts
    /// nothing.
    pub async fn settles_on(&self, addresses: &[&str]) {
        let settled = |view: &View| {
            view.live
                && view.held.is_empty()
                && view.instances == addresses
                && view.endpoints == addresses
        };
        self.sees(&format!("just {addresses:?}"), settled).await;
    }
}

impl View {
    /// Whether there is somebody to call.
    pub fn is_usable(&self) -> bool {
        !self.instances.is_empty() && !self.endpoints.is_empty()
    }

    /// Whether there is this address to call.
    pub fn has(&self, address: &str) -> bool {
        let is_it = |other: &String| other == address;
        self.instances.iter().any(is_it) && self.endpoints.iter().any(is_it)
    }
}
