//! Any two adapters in either order, under every balancer, while endpoints come, go and change.

use super::*;
use crate::{
    calls::{
        balancer::{
            Balancer, ConsistentHash, LeastLoaded, Random, RoundRobin, Weighted, WeightedRandom,
        },
        connectivity::{Connectable, Connectivity},
        endpoint::Endpoint,
        endpoint_source::EndpointSource,
        endpointer::FixedEndpointer,
        factory::BoxError,
        no_endpoints::NoEndpoints,
        observer::{EndedCall, Observer},
        pick::PickContext,
    },
    instances::{Instance, testing::quiet},
    registry::Key,
};
use async_trait::async_trait;
use fastrand::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// Each target has a number of its own.
type Source = Arc<dyn EndpointSource<Target = u64>>;
type AnyBalancer = Arc<dyn Balancer<Target = u64>>;
type MakeBalancer = fn(Source) -> AnyBalancer;

#[derive(Clone, Copy)]
struct Adapter {
    name: &'static str,
    keeps: Keeps,
    over: fn(Source) -> Source,
}

/// Which endpoints of its source an adapter has, as long as no call fails.
#[derive(Clone, Copy, PartialEq)]
enum Keeps {
    All,
    /// Some of them, by a rule that depends on nothing but the source's endpoints.
    Some,
}

/// To test another adapter, add it here.
const ADAPTERS: &[Adapter] = &[
    Adapter {
        name: "subset",
        keeps: Keeps::Some,
        over: |source| Arc::new(Subset::builder(source, 4).client_id("client").build()),
    },
    Adapter {
        name: "zone preference",
        keeps: Keeps::Some,
        over: |source| {
            let nearby = ZonePreference::builder(source, "north");
            Arc::new(nearby.client_id("client").build())
        },
    },
    Adapter {
        name: "lane",
        keeps: Keeps::Some,
        over: |source| Arc::new(Lanes::new(source, "version", LaneFallback::All).lane("canary")),
    },
    Adapter {
        name: "ejection",
        keeps: Keeps::All,
        over: |source| Arc::new(Ejection::new(source)),
    },
    Adapter {
        name: "active health",
        keeps: Keeps::All,
        over: |source| Arc::new(ActiveHealth::new(source, Healthy)),
    },
    Adapter {
        name: "reachable",
        keeps: Keeps::All,
        over: |source| Arc::new(Reachable::new(source)),
    },
    Adapter {
        name: "slow start",
        keeps: Keeps::All,
        over: |source| {
            let window = Duration::from_millis(20);
            Arc::new(SlowStart::builder(source).window(window).build())
        },
    },
    Adapter {
        name: "observed",
        keeps: Keeps::All,
        over: |source| Arc::new(Observed::new(source, |_| Arc::new(Unheard))),
    },
    Adapter {
        name: "all lanes",
        keeps: Keeps::All,
        over: |source| Arc::new(Lanes::new(source, "version", LaneFallback::Error).all()),
    },
];

/// A target that is always connected.
impl Connectable for u64 {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        watch::channel(Connectivity::Ready).1
    }
}

/// An observer that does nothing.
struct Unheard;

impl Observer for Unheard {
    fn ended(&self, _: &EndedCall) {}
}

/// A check that all endpoints pass.
struct Healthy;

#[async_trait]
impl HealthCheck<u64> for Healthy {
    async fn check(&self, _: &Endpoint<u64>) -> Result<(), BoxError> {
        Ok(())
    }
}

/// To test another balancer, add it here.
const BALANCERS: &[(&str, MakeBalancer)] = &[
    ("round robin", |source| Arc::new(RoundRobin::new(source))),
    ("random", |source| Arc::new(Random::new(source))),
    ("weighted", |source| Arc::new(Weighted::new(source))),
    ("weighted random", |source| {
        Arc::new(WeightedRandom::new(source))
    }),
    ("least loaded", |source| Arc::new(LeastLoaded::new(source))),
    ("consistent hash", |source| {
        // A small table, since building it is slow in tests.
        let hash = ConsistentHash::builder(source).table_size(251);
        Arc::new(hash.build())
    }),
    ("lanes", |source| {
        let lanes = Lanes::new(source, "version", LaneFallback::Error);
        Arc::new(lanes.balancer(RoundRobin::new))
    }),
];

/// After this, adapters that go by time have done what a change makes them do.
const SETTLED: Duration = Duration::from_secs(60);

/// One adapter over another one.
#[derive(Clone, Copy)]
struct Pair(Adapter, Adapter);

impl Pair {
    fn all() -> impl Iterator<Item = Self> {
        let pairs = |one: &'static Adapter| ADAPTERS.iter().map(|other| Self(*one, *other));
        ADAPTERS.iter().flat_map(pairs)
    }

    fn over(&self, source: Source) -> Source {
        (self.1.over)((self.0.over)(source))
    }

    fn keeps_all(&self) -> bool {
        self.0.keeps == Keeps::All && self.1.keeps == Keeps::All
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {}", self.1.name, self.0.name)
    }
}

/// A source whose endpoints change at random.
struct Churn {
    source: Arc<FixedEndpointer<u64>>,
    endpoints: BTreeMap<u64, Arc<Endpoint<u64>>>,
    /// There are endpoints of so many names at most.
    names: u64,
    rng: Rng,
    targets: u64,
}

impl Churn {
    fn new(names: u64, seed: u64) -> Self {
        let mut churn = Self {
            source: Arc::new(FixedEndpointer::unknown()),
            endpoints: BTreeMap::new(),
            names,
            rng: Rng::with_seed(seed),
            targets: 0,
        };
        for _ in 0..names {
            churn.change();
        }
        churn
    }

    /// Adds, removes, replaces or changes one endpoint, or takes all away.
    fn change(&mut self) {
        let name = self.rng.u64(..self.names);
        match (self.rng.u8(..40), self.endpoints.remove(&name)) {
            (0, _) => {
                self.endpoints.clear();
                return self.source.set_none(NoEndpoints::Unreadable { entries: 7 });
            }
            (1..10, Some(_)) => {}
            (10..14, _) | (_, None) => {
                self.targets += 1;
                let endpoint = Endpoint::new(self.instance(name), self.targets);
                self.endpoints.insert(name, Arc::new(endpoint));
            }
            (_, Some(endpoint)) => {
                let endpoint = endpoint.with_instance(self.instance(name));
                self.endpoints.insert(name, Arc::new(endpoint));
            }
        }
        self.source.set_shared(self.endpoints.values().cloned());
    }

    /// An instance of any weight, in any zone and lane.
    fn instance(&mut self, name: u64) -> Instance {
        let key = Key::new(format!("{name:03}")).unwrap();
        let instance = Instance::new(key, format!("h:{name}")).with_weight(self.rng.u32(1..4));
        let zone = ["north", "south", "", "west"][self.rng.usize(..4)];
        let instance = instance.with_zone(zone);
        match self.rng.choice(["canary", "stable", ""]) {
            None | Some("") => instance,
            Some(version) => instance.with_metadata("version", version),
        }
    }
}

/// The endpoints and in which state they are, or why there are none.
fn shown(source: &Source) -> Result<Vec<(String, u64, u32, String)>, String> {
    let endpoints = source.endpoints();
    let endpoints = endpoints.non_empty().map_err(|none| none.to_string())?;
    let one = |one: &Arc<Endpoint<u64>>| {
        let instance = format!("{:?}", one.instance());
        (one.key().to_string(), *one.target(), one.weight(), instance)
    };
    Ok(endpoints.iter().map(one).collect())
}

/// Asserts that `stack` has what its adapters should take of the endpoints that there are now.
fn assert_current(pair: Pair, churn: &Churn, stack: &Source) {
    let source: Source = churn.source.clone();
    let expected = shown(&pair.over(source.clone()));
    assert_eq!(shown(stack), expected, "{pair:?}");
    let all = shown(&source);
    match (expected, all) {
        (Ok(some), Ok(all)) => {
            assert!(
                !some.is_empty() && some.iter().all(|one| all.contains(one)),
                "{pair:?}"
            );
            assert!(!pair.keeps_all() || some == all, "{pair:?}");
        }
        (expected, all) => assert_eq!(expected, all, "{pair:?}"),
    }
}

/// Asserts that `balancer` picks all endpoints of `stack`, and no others.
fn assert_picks_all(name: &str, balancer: &AnyBalancer, stack: &Source) {
    let Ok(endpoints) = shown(stack) else {
        let none = balancer
            .endpoint()
            .map(|pick| pick.key().clone())
            .unwrap_err();
        assert_eq!(shown(stack).unwrap_err(), none.to_string(), "{name}");
        return;
    };
    let mut missing: BTreeSet<u64> = endpoints.iter().map(|(_, target, ..)| *target).collect();
    let known = missing.clone();
    // Of 14 endpoints of a weight up to 3, one gets at least every fortieth call: that it gets none
    // of 2,000 at random has a probability of 1e-22.
    for n in 0..2000_u32 {
        let key = n.to_le_bytes();
        let context = PickContext::new().with_hash_key(&key);
        let pick = balancer.pick(&context).unwrap();
        assert!(
            known.contains(pick.target()),
            "{name} picked {pick:?}, which is gone"
        );
        missing.remove(pick.target());
        if missing.is_empty() {
            return;
        }
    }
    panic!("{name} never picks {missing:?} of {known:?}");
}

#[tokio::test(start_paused = true)]
async fn no_pair_loses_an_update_or_keeps_what_is_gone() {
    fastrand::seed(7);
    for (seed, pair) in Pair::all().enumerate() {
        let mut churn = Churn::new(14, seed as u64);
        let stack = pair.over(churn.source.clone());
        let balancers: Vec<_> = BALANCERS
            .iter()
            .map(|(name, over)| (name, over(stack.clone())))
            .collect();
        for _ in 0..20 {
            // One change right after another, before, between and while the tasks run.
            for _ in 0..churn.rng.u8(1..6) {
                churn.change();
                for _ in 0..churn.rng.u8(..4) {
                    tokio::task::yield_now().await;
                }
            }
            sleep(SETTLED).await;
            assert_current(pair, &churn, &stack);
            for (name, balancer) in &balancers {
                assert_picks_all(&format!("{name} over {pair:?}"), balancer, &stack);
            }
        }
        drop((stack, balancers));
        quiet().await;
        assert_eq!(
            Arc::strong_count(&churn.source),
            1,
            "a task of {pair:?} has not ended"
        );
    }
}

/// With real threads, and tables that take time to build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pair_loses_an_update_that_comes_while_it_derives_a_table() {
    for (seed, pair) in Pair::all().enumerate() {
        let mut churn = Churn::new(300, seed as u64);
        let stack = pair.over(churn.source.clone());
        for _ in 0..10 {
            churn = tokio::task::spawn_blocking(move || {
                for _ in 0..50 {
                    churn.change();
                }
                churn
            })
            .await
            .unwrap();
            let expected = shown(&pair.over(churn.source.clone()));
            let mut versions = stack.versions();
            let settled = async {
                while shown(&stack) != expected {
                    versions.changed().await.unwrap();
                }
            };
            let settled = timeout(SETTLED, settled).await;
            assert!(settled.is_ok(), "{pair:?} has lost an update");
        }
    }
}
