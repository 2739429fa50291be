//! What is measured: the floors, the balancers, and those of other toolkits.

use super::{
    candidate::{Candidate, DECAY, Floor, Kind, Picks},
    floors,
};
use crate::rounds::Work;
use sd_core::{
    Balancer, ConsistentHash, LeastLoaded, Outcome, PickContext, Random, RoundRobin, Weighted,
    WeightedRandom,
};
use std::{hint::black_box, sync::Arc};

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
        floors::ATOMIC_STEPS,
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
        with_keys(move |key| call(&*balancer, &PickContext::new().with_hash_key(key)))
    })
}

/// Calls with another hash key each time.
pub(super) fn with_keys(mut call: impl FnMut(&[u8]) + Send + 'static) -> Work {
    let mut key = 0_u64;
    Box::new(move |times| {
        for _ in 0..times {
            key += 1;
            call(&key.to_le_bytes());
        }
    })
}

#[inline]
fn call(balancer: &impl Balancer<Target = usize>, context: &PickContext<'_>) {
    let picked = balancer.pick(black_box(context));
    let picked = picked.expect("there are endpoints");
    black_box(picked.target());
    picked.report(Outcome::Success);
}
