//! What follows the registry: an instancer, endpoints, and what is derived from them.

use super::fed::FedRegistry;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use sd_core::{
    ActiveHealth, Balancer, BoxError, Change, Client, Codec, ConsistentHash, DefaultCodec,
    Ejection, EndedCall, Endpoint, EndpointSource, Endpointer, Entry, HealthCheck, Instance,
    Instancer, Instances, LaneFallback, Lanes, LeastLoaded, Observed, Observer, Prefix, RoundRobin,
    SlowStart, Subset, Weighted, WeightedRandom, ZonePreference, async_trait, factory_fn,
};
use std::{any::Any, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What follows the registry for as long as this lives.
pub(super) struct Following {
    /// The versions of its tables, if it has any.
    versions: Option<watch::Receiver<u64>>,
    _alive: Box<dyn Any>,
}

impl Following {
    /// How many tables there have been.
    pub(super) fn tables(&self) -> Option<u64> {
        self.versions.as_ref().map(|versions| *versions.borrow())
    }

    fn of_task(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            versions: None,
            _alive: Box::new(AbortOnDropHandle::new(tokio::spawn(task))),
        }
    }

    fn of(balancer: impl Balancer + 'static) -> Self {
        Self {
            versions: Some(balancer.versions()),
            _alive: Box::new(balancer),
        }
    }
}

/// Begins to follow a registry, and waits until all is known.
type Follow = fn(FedRegistry) -> BoxFuture<'static, Following>;

/// What is measured.
pub(super) const FOLLOWERS: [(&str, Follow); 14] = [
    ("floor: a persistent map", |registry| {
        floor(registry).boxed()
    }),
    ("instancer, a subscriber", |registry| {
        subscriber(registry).boxed()
    }),
    ("endpointer", |registry| {
        over(registry, |source| source).boxed()
    }),
    ("Weighted", |registry| {
        balanced(registry, Weighted::new).boxed()
    }),
    ("WeightedRandom", |registry| {
        balanced(registry, WeightedRandom::new).boxed()
    }),
    ("LeastLoaded", |registry| {
        balanced(registry, LeastLoaded::new).boxed()
    }),
    ("ConsistentHash", |registry| {
        balanced(registry, ConsistentHash::new).boxed()
    }),
    ("ActiveHealth", |registry| {
        over(registry, |source| ActiveHealth::new(source, Well)).boxed()
    }),
    ("Ejection", |registry| over(registry, Ejection::new).boxed()),
    ("Lanes", |registry| {
        over(registry, |source| {
            Lanes::new(source, "version", LaneFallback::All).all()
        })
        .boxed()
    }),
    ("ZonePreference", |registry| {
        over(registry, |source| ZonePreference::new(source, "eu-1")).boxed()
    }),
    ("Subset of 20", |registry| {
        over(registry, |source| Subset::new(source, 20)).boxed()
    }),
    ("SlowStart", |registry| {
        over(registry, SlowStart::new).boxed()
    }),
    ("Observed", |registry| {
        over(registry, |source| {
            Observed::new(source, |_| Arc::new(Nothing))
        })
        .boxed()
    }),
];

fn prefix() -> Prefix {
    Prefix::new("/services/hello").expect("a prefix")
}

fn decode(entry: &Entry) -> Option<Instance> {
    let decoded = DefaultCodec.decode(entry).ok()?;
    decoded.instances().first().cloned()
}

/// The least that has to be done: the watch is read, and a persistent map updated.
async fn floor(registry: FedRegistry) -> Following {
    let listed = registry.get_entries(&prefix()).await.expect("a list");
    let mut instances: Instances = listed.entries.iter().filter_map(decode).collect();
    let watch = registry.watch_prefix(&prefix(), &listed.revision).await;
    let mut watch = watch.expect("a watch");
    Following::of_task(async move {
        let mut published = instances.clone();
        while let Some(Ok(batch)) = watch.next().await {
            for change in &batch.changes {
                match change {
                    Change::Put(entry) => {
                        decode(entry).map(|instance| instances.insert(instance));
                    }
                    change => {
                        instances.remove(change.key());
                    }
                }
            }
            published.clone_from(&instances);
        }
        drop(published);
    })
}

async fn instancer(registry: FedRegistry) -> Instancer {
    let builder = Instancer::builder(registry, prefix()).grace(Duration::ZERO);
    let instancer = builder.build();
    instancer.ready().await.expect("instances");
    instancer
}

async fn subscriber(registry: FedRegistry) -> Following {
    let instancer = instancer(registry).await;
    Following::of_task(async move {
        let mut events = instancer.subscribe();
        let mut newest = None;
        while let Some(event) = events.next().await {
            newest = Some(event);
        }
        drop(newest);
    })
}

/// The endpoints of all instances.
type All = Arc<Endpointer<()>>;

async fn endpointer(registry: FedRegistry) -> All {
    let factory = factory_fn(|_| Ok(()));
    let endpointer = Endpointer::new(instancer(registry).await, factory);
    endpointer.ready().await.expect("endpoints");
    Arc::new(endpointer)
}

/// Endpoints that are derived from those of the endpointer.
async fn over<S: EndpointSource>(registry: FedRegistry, derive: fn(All) -> S) -> Following {
    Following::of(RoundRobin::new(derive(endpointer(registry).await)))
}

async fn balanced<B: Balancer + 'static>(
    registry: FedRegistry,
    balance: fn(All) -> B,
) -> Following {
    Following::of(balance(endpointer(registry).await))
}

struct Well;

#[async_trait]
impl HealthCheck<()> for Well {
    async fn check(&self, _: &Endpoint<()>) -> Result<(), BoxError> {
        Ok(())
    }
}

struct Nothing;

impl Observer for Nothing {
    fn needs_times(&self) -> bool {
        false
    }

    fn ended(&self, _: &EndedCall) {}
}
