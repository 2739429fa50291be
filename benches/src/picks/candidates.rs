//! What is measured: the floors, the balancers, and those of other toolkits.

use super::{
    candidate::{Candidate, DECAY, Floor, Kind, Picks},
    floors,
};
use sd_core::{
    Balancer, ConsistentHash, LeastLoaded, Outcome, PickContext, Random, RoundRobin, Weighted,
    WeightedRandom,
};
use std::{hint::black_box, sync::Arc};

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
        toolkit("ConsistentHash", Floor::Counter, |source| {
            picks(ConsistentHash::new(source))
        }),
        toolkit("ConsistentHash, bounded", Floor::Counter, |source| {
            picks(ConsistentHash::builder(source).bounded_load(1.25).build())
        }),
        toolkit("LeastLoaded", Floor::Draw, |source| {
            picks(LeastLoaded::new(source))
        }),
        toolkit("LeastLoaded, peak EWMA", Floor::DrawAndClock, |source| {
            picks(LeastLoaded::builder(source).peak_ewma(DECAY).build())
        }),
    ];
    #[cfg(feature = "peers")]
    all.extend(super::peers::PEERS);
    all
}

/// A call is a pick, for the next of many hash keys, and the report of its end.
fn picks(balancer: impl Balancer<Target = usize> + 'static) -> Picks {
    let balancer = Arc::new(balancer);
    Box::new(move || {
        let balancer = balancer.clone();
        Box::new(move |times| {
            for call in 0..times {
                let key = call.to_ne_bytes();
                let context = PickContext::new().with_hash_key(&key);
                let picked = balancer.pick(black_box(&context));
                let picked = picked.expect("there are endpoints");
                black_box(picked.target());
                picked.report(Outcome::Success);
            }
        })
    })
}
