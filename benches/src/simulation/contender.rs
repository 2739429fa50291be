//! Contenders: the balancers that are simulated.

use sd_core::{Balancer, EndpointSource, FixedEndpointer, Random, RoundRobin};
use std::{fmt, sync::Arc};

/// A balancer, and the adapters between it and the endpoints.
#[derive(Clone, Copy)]
pub(super) struct Contender {
    name: &'static str,
    make: fn(Source) -> BoxBalancer,
}

pub(super) type Source = Arc<FixedEndpointer<usize>>;
pub(super) type BoxBalancer = Box<dyn Balancer<Target = usize>>;

impl Contender {
    /// `RoundRobin` alone.
    pub(super) const ROUND_ROBIN: Self = Self {
        name: "RoundRobin",
        make: |source| Box::new(in_step(RoundRobin::new(source))),
    };

    /// `Random` alone.
    pub(super) const RANDOM: Self = Self {
        name: "Random",
        make: |source| Box::new(Random::new(source)),
    };

    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        vec![Self::ROUND_ROBIN, Self::RANDOM]
    }

    /// What it consists of.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// A balancer on the endpoints of `source`, in a state that depends on nothing but the seed of
    /// `fastrand`.
    pub(super) fn balancer(&self, source: Source) -> BoxBalancer {
        (self.make)(source)
    }
}

/// `RoundRobin` starts at a random endpoint, and each thread has a counter of its own: the next one
/// that this thread picks is the second one.
fn in_step<S: EndpointSource<Target = usize>>(balancer: RoundRobin<S>) -> RoundRobin<S> {
    for _ in 0..balancer.source().endpoints().len() {
        if balancer.endpoint().is_ok_and(|pick| *pick.target() == 0) {
            break;
        }
    }
    balancer
}

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Contender").field(&self.name).finish()
    }
}
