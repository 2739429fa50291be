//! Contenders: the balancers that are simulated.

use sd_core::{
    Balancer, ConsistentHash, Ejection, EndpointSource, FixedEndpointer, LeastLoaded, Random,
    RoundRobin, SlowStart, Weighted, WeightedRandom,
};
use std::{fmt, sync::Arc, time::Duration};

/// How fast latencies are forgotten: as in Finagle.
const DECAY: Duration = Duration::from_secs(10);
/// How much more than the mean an endpoint may have to do.
const LOAD_FACTOR: f64 = 1.25;

/// A balancer, and the adapters between it and the endpoints.
#[derive(Clone, Copy)]
pub(super) struct Contender {
    name: &'static str,
    /// Whether an ejection and a slow start are between it and the endpoints.
    is_adapted: bool,
    balancer: fn(BoxSource) -> BoxBalancer,
}

/// The endpoints that the simulation sets.
pub(super) type Source = Arc<FixedEndpointer<usize>>;
type BoxSource = Box<dyn EndpointSource<Target = usize>>;
pub(super) type BoxBalancer = Box<dyn Balancer<Target = usize>>;

impl Contender {
    pub(super) const ROUND_ROBIN: Self =
        Self::new("RoundRobin", |source| Box::new(RoundRobin::new(source)));
    pub(super) const RANDOM: Self = Self::new("Random", |source| Box::new(Random::new(source)));
    pub(super) const WEIGHTED: Self =
        Self::new("Weighted", |source| Box::new(Weighted::new(source)));

    const WEIGHTED_RANDOM: Self = Self::new("WeightedRandom", |source| {
        Box::new(WeightedRandom::new(source))
    });
    pub(super) const LEAST_LOADED: Self =
        Self::new("LeastLoaded", |source| Box::new(LeastLoaded::new(source)));
    pub(super) const PEAK_EWMA: Self = Self::new("LeastLoaded, peak EWMA", |source| {
        Box::new(LeastLoaded::builder(source).peak_ewma(DECAY).build())
    });

    const CONSISTENT_HASH: Self = Self::new("ConsistentHash", |source| {
        Box::new(ConsistentHash::new(source))
    });
    const BOUNDED: Self = Self::new("ConsistentHash, bounded", |source| {
        Box::new(
            ConsistentHash::builder(source)
                .bounded_load(LOAD_FACTOR)
                .build(),
        )
    });

    const fn new(name: &'static str, balancer: fn(BoxSource) -> BoxBalancer) -> Self {
        Self {
            name,
            is_adapted: false,
            balancer,
        }
    }

    /// All of them: alone, and then over the adapters. Those that differ from another one by the
    /// weights only are like it alone, since all instances have the same weight.
    pub(super) fn all() -> Vec<Self> {
        let alone = [
            Self::ROUND_ROBIN,
            Self::RANDOM,
            Self::LEAST_LOADED,
            Self::PEAK_EWMA,
            Self::CONSISTENT_HASH,
            Self::BOUNDED,
        ];
        let adapted = [
            Self::ROUND_ROBIN,
            Self::RANDOM,
            Self::WEIGHTED,
            Self::WEIGHTED_RANDOM,
            Self::LEAST_LOADED,
            Self::PEAK_EWMA,
            Self::CONSISTENT_HASH,
            Self::BOUNDED,
        ];
        alone
            .into_iter()
            .chain(adapted.map(Self::adapted))
            .collect()
    }

    /// The same balancer over an ejection and a slow start.
    pub(super) fn adapted(self) -> Self {
        Self {
            is_adapted: true,
            ..self
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// What is between the balancer and the endpoints.
    pub(super) fn adapters(&self) -> Option<&'static str> {
        self.is_adapted.then_some("ejection, slow start")
    }

    /// A balancer on the endpoints of `source`.
    pub(super) fn balancer(&self, source: Source) -> BoxBalancer {
        (self.balancer)(if self.is_adapted {
            Box::new(SlowStart::new(Ejection::new(source)))
        } else {
            Box::new(source)
        })
    }
}

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.adapters() {
            Some(adapters) => write!(f, " over {adapters}"),
            None => Ok(()),
        }
    }
}
