//! An honest consumer: one process that follows all services, with small limits.

use super::{
    log::{self, View},
    names::{
        HONEST_NETWORK, HOSTILE_NETWORK, MOVING, PER_SERVICE, SERVICES, honest_address, honest_key,
        prefix,
    },
};
use futures::StreamExt;
use sd_core::{
    BoxError, EndpointSource, Endpointer, Instancer, Instances, Prefix, PrefixLimits, Source,
    factory_fn,
};
use sd_etcd::EtcdClient;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::time::sleep;

/// The first argument of a program that is to [`consume`].
pub const CONSUME: &str = "--consume";

/// What a consumer keeps of one service at most: instances, and bytes of all instances.
pub const LIMITS: (usize, usize) = (1_000, 4 << 20);
/// The limits of its client: bytes of a list, and of an answer or what a watch has not handed over.
const LIST_BYTES: usize = 32 << 20;
const MESSAGE_BYTES: usize = 8 << 20;

/// What a consumer takes in memory at most, in bytes: the sum that the pages of
/// [`PrefixLimits`] and [`EtcdClientBuilder`](sd_etcd::EtcdClientBuilder) promise, if all services are
/// listed at once.
pub const fn memory_limit() -> usize {
    let instances = 2 * LIMITS.1;
    SERVICES * (instances + LIST_BYTES + 2 * MESSAGE_BYTES) + MESSAGE_BYTES
}

/// The main function of a consumer's process. Runs until it is killed. `memory` tells the most memory
/// that the process has had, in bytes.
///
/// # Errors
/// The options are wrong.
pub async fn consume(endpoint: &str, memory: fn() -> usize) -> Result<(), BoxError> {
    log::start();
    let base = memory();
    let client = EtcdClient::builder([endpoint])
        .list_limits(20_000, LIST_BYTES)
        .max_message_bytes(MESSAGE_BYTES)
        .build()?;
    let followed = (0..SERVICES).map(|service| Followed::start(service, client.clone()));
    let followed = followed.collect::<Result<Vec<_>, _>>()?;
    loop {
        sleep(log::INTERVAL).await;
        for followed in &followed {
            followed.view(memory().saturating_sub(base)).print();
        }
    }
}

/// One service.
struct Followed {
    service: usize,
    seen: Arc<Mutex<Seen>>,
    endpointer: Endpointer<()>,
    least_endpoints: AtomicUsize,
    /// How many targets were made for each key whose address changes all the time.
    made: Arc<Mutex<HashMap<String, usize>>>,
}

/// What the instancer has shown.
struct Seen {
    honest: usize,
    least: usize,
    shown: usize,
    foreign: usize,
}

impl Followed {
    fn start(service: usize, client: EtcdClient) -> Result<Self, BoxError> {
        let limits = PrefixLimits::default().instances(LIMITS.0).bytes(LIMITS.1);
        let instancer = Instancer::builder(client, Prefix::new(prefix(service))?)
            .limits(limits)
            .build();
        let made: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let runs = made.clone();
        let factory = factory_fn(move |instance| {
            let (key, address) = (instance.key().as_str(), instance.address());
            // Half of the hostile addresses cannot be called.
            if address.starts_with(HOSTILE_NETWORK) && address.len().is_multiple_of(2) {
                return Err("nobody answers".into());
            }
            if key.ends_with(MOVING) {
                let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
                *runs.entry(key.to_owned()).or_default() += 1;
            }
            Ok(())
        });
        let seen = Arc::new(Mutex::new(Seen {
            honest: 0,
            least: usize::MAX,
            shown: 0,
            foreign: 0,
        }));
        let mut events = Source::subscribe(&instancer);
        let sees = seen.clone();
        let honest: Vec<_> = (0..PER_SERVICE)
            .map(|n| (honest_key(service, n), honest_address(service, n)))
            .collect();
        // Ends with the instancer, which the endpointer has.
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let mut seen = sees.lock().unwrap_or_else(PoisonError::into_inner);
                seen.look(event.instances(), &honest);
            }
        });
        Ok(Self {
            service,
            seen,
            endpointer: Endpointer::new(instancer, factory),
            least_endpoints: AtomicUsize::new(usize::MAX),
            made,
        })
    }

    fn view(&self, memory: usize) -> View {
        let endpoints = self.endpointer.endpoints();
        let addresses = endpoints.iter().map(|it| it.instance().address());
        let endpoints = addresses
            .filter(|it| it.starts_with(HONEST_NETWORK))
            .count();
        let least = self.least_endpoints.load(Ordering::Relaxed);
        let least = least_since_complete(least, endpoints);
        self.least_endpoints.store(least, Ordering::Relaxed);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        View {
            service: self.service,
            seen: [seen.honest, endpoints],
            least: [seen.least, least],
            shown: seen.shown,
            made: made.values().copied().max().unwrap_or_default(),
            foreign: seen.foreign,
            memory,
        }
    }
}

impl Seen {
    fn look(&mut self, instances: &Instances, honest: &[(String, String)]) {
        let is_there = |(key, address): &&(String, String)| {
            let found = instances.get(key);
            found.is_some_and(|instance| instance.address() == address)
        };
        self.honest = honest.iter().filter(is_there).count();
        self.least = least_since_complete(self.least, self.honest);
        self.shown = self.shown.max(instances.len());
        let is_callable =
            |it: &str| it.starts_with(HONEST_NETWORK) || it.starts_with(HOSTILE_NETWORK);
        let foreign = instances.iter();
        let foreign = foreign.filter(|instance| !is_callable(instance.address()));
        self.foreign = self.foreign.max(foreign.count());
    }
}

/// The smallest number since there were all; more than all before that.
fn least_since_complete(least: usize, now: usize) -> usize {
    match now == PER_SERVICE {
        false if least > PER_SERVICE => least,
        _ => least.min(now),
    }
}
