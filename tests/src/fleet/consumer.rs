//! A consumer with a client of its own, and what it sees.

use crate::eventually::{PATIENCE, eventually};
use sd_core::{
    Balancer, Client, EndpointSource, Endpointer, Instancer, Prefix, RoundRobin, factory_fn,
};
use sd_etcd::EtcdClient;
use std::{
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
