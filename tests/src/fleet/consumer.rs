//! A consumer with its own client, and what it sees.

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

/// The grace period in tests: longer than providers take to come back, and short enough to wait
/// for.
const GRACE: Duration = Duration::from_secs(4);

/// Stands for a process that follows one prefix with its own client. Ready from the start.
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
    /// The keys whose removal is held back.
    pub held: Vec<String>,
    /// Whether the registry is followed at the moment.
    pub live: bool,
}

impl Consumer<EtcdClient> {
    /// Follows `prefix` at the registry behind `endpoint`, with a grace period of 4 s.
    ///
    /// Its watch may not be open yet. If it starts before a provider and sees the provider, the
    /// watch is open.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn start(endpoint: impl Into<String>, prefix: &str) -> Self {
        let client = EtcdClient::connect([endpoint]).expect("a URL");
        Self::on(client, prefix).await
    }

    /// Like [`start`](Self::start), with this client.
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

    /// Its instancer.
    pub fn instancer(&self) -> &Instancer {
        &self.instancer
    }

    /// Its endpointer.
    pub fn endpointer(&self) -> &Endpointer<String> {
        self.balancer.source()
    }

    /// Picks an endpoint, and returns its address.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick(&self) -> String {
        let pick = self.balancer.endpoint().expect("somebody to call");
        pick.target().to_string()
    }

    /// How many endpoints were made so far. An instance that stays keeps its endpoint.
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

    /// Waits until `accept` returns `true` for its view.
    pub async fn sees(&self, what: &str, accept: impl Fn(&View) -> bool) -> View {
        eventually(PATIENCE, what, async || self.view(), accept).await
    }

    /// Waits until it can call exactly these addresses, follows the registry, and holds no removal.
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
    /// Whether there is an endpoint to call.
    pub fn is_usable(&self) -> bool {
        !self.instances.is_empty() && !self.endpoints.is_empty()
    }

    /// Whether there is an endpoint with this address.
    pub fn has(&self, address: &str) -> bool {
        let is_it = |other: &String| other == address;
        self.instances.iter().any(is_it) && self.endpoints.iter().any(is_it)
    }
}
