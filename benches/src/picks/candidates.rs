//! What is measured: the floors, the balancers, and those of other toolkits.

use super::floors;
use crate::rounds::Work;
use sd_core::{
    Balancer, ConsistentHash, Endpoint, FixedEndpointer, Instance, Key, LeastLoaded, Outcome,
    PickContext, Random, RoundRobin, Weighted, WeightedRandom,
};
use std::{hint::black_box, sync::Arc, time::Duration};

/// The source of the endpoints of one candidate.
pub(crate) type Source = Arc<FixedEndpointer<usize>>;

/// Something that picks an endpoint for a call.
#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Prepares it to pick among the endpoints of a source. The result makes the picks of a
    /// thread, and may be called for several threads.
    pub(crate) prepare: fn(Source) -> Picks,
}

/// Makes the picks of a thread.
pub(crate) type Picks = Box<dyn Fn() -> Work>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The least that a pick has to do, with this way of choosing.
    Floor(Floor),
    /// A balancer of the toolkit, beside the floor that it cannot beat.
    Toolkit(Floor),
    /// A balancer of another toolkit.
    #[cfg(feature = "peers")]
    Peer {
        /// Whether several threads can share it.
        is_shared: bool,
    },
}

/// How a floor chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floor {
    /// By a counter that the thread has for itself.
    Counter,
    /// By a random number.
    Draw,
    /// By a random number, for a call whose latency is measured.
    DrawAndClock,
}

/// How fast latencies are forgotten: as in Finagle.
pub(super) const DECAY: Duration = Duration::from_secs(10);

/// How much more than the mean an endpoint may have to do.
const LOAD_FACTOR: f64 = 1.25;

/// The balancer that the others are compared with, beside their floors.
pub(crate) const REFERENCE: &str = "Random";

/// All candidates.
pub(crate) fn candidates() -> Vec<Candidate> {
    let toolkit = |name, floor, prepare| Candidate {
        name,
        kind: Kind::Toolkit(floor),
        prepare,
    };
    #[cfg_attr(not(feature = "peers"), expect(unused_mut, reason = "peers are added"))]
    let mut all = vec![
        floors::COUNTER,
        floors::DRAW,
        floors::DRAW_AND_CLOCK,
        toolkit("RoundRobin", Floor::Counter, |source| {
            picks(RoundRobin::new(source))
        }),
        toolkit(REFERENCE, Floor::Draw, |source| picks(Random::new(source))),
        toolkit("Weighted", Floor::Counter, |source| {
            picks(Weighted::new(source))
        }),
        toolkit("WeightedRandom", Floor::Draw, |source| {
            picks(WeightedRandom::new(source))
        }),
        toolkit("LeastLoaded", Floor::Draw, |source| {
            picks(LeastLoaded::new(source))
        }),
        toolkit("LeastLoaded, peak EWMA", Floor::DrawAndClock, |source| {
            picks(LeastLoaded::builder(source).peak_ewma(DECAY).build())
        }),
        toolkit("ConsistentHash", Floor::Draw, |source| {
            picks_by_key(ConsistentHash::new(source))
        }),
        toolkit("ConsistentHash, bounded", Floor::Draw, |source| {
            picks_by_key(
                ConsistentHash::builder(source)
                    .bounded_load(LOAD_FACTOR)
                    .build(),
            )
        }),
    ];
    #[cfg(feature = "peers")]
    all.extend(super::peers::PEERS);
    all
}

impl Kind {
    pub(crate) fn is_shared(self) -> bool {
        match self {
            #[cfg(feature = "peers")]
            Self::Peer { is_shared } => is_shared,
            Self::Floor(_) | Self::Toolkit(_) => true,
        }
    }

    pub(crate) fn floor(self) -> Option<Floor> {
        match self {
            Self::Toolkit(floor) => Some(floor),
            _ => None,
        }
    }
}

/// Endpoints of different weights.
pub(crate) fn source(endpoints: usize) -> Source {
    Arc::new(FixedEndpointer::new((0..endpoints).map(endpoint)))
}

pub(crate) fn endpoint(n: usize) -> Endpoint<usize> {
    let key = Key::new(format!("/services/hello/{n:05}")).expect("a key");
    let address = format!("10.0.{}.{}:80", n / 256, n % 256);
    let instance = Instance::new(key, address).with_weight(1 + n as u32 % 5);
    Endpoint::new(instance, n)
}

/// A call is a pick and the report of its end.
fn picks(balancer: impl Balancer<Target = usize> + 'static) -> Picks {
    let balancer = Arc::new(balancer);
    Box::new(move || {
        let balancer = balancer.clone();
        Box::new(move |times| {
            for _ in 0..times {
                call(&*balancer, &PickContext::new());
            }
        })
    })
}

/// The same, where each call has another hash key.
fn picks_by_key(balancer: impl Balancer<Target = usize> + 'static) -> Picks {
    let balancer = Arc::new(balancer);
    Box::new(move || {
        let balancer = balancer.clone();
        let mut key = 0_u64;
        Box::new(move |times| {
            for _ in 0..times {
                key += 1;
                let key = key.to_le_bytes();
                call(&*balancer, &PickContext::new().with_hash_key(&key));
            }
        })
    })
}

#[inline]
fn call(balancer: &impl Balancer<Target = usize>, context: &PickContext<'_>) {
    let picked = balancer.pick(black_box(context));
    let picked = picked.expect("there are endpoints");
    black_box(picked.target());
    picked.report(Outcome::Success);
}
