//! The balancers that are compared.

use crate::{server::Server, traffic::Servers};
use sd_core::{
    BoxError, ConsistentHash, Ejection, EjectionStatus, Endpointer, LeastLoaded, Random,
    RoundRobin, SlowStart, StatusReceiver, Weighted, WeightedRandom,
};
use std::{sync::Arc, time::Duration};

/// A way to choose the instance of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    RoundRobin,
    Random,
    Weighted,
    WeightedRandom,
    ConsistentHash,
    LeastLoaded,
    PeakEwma,
    /// The least loaded of those that are not ejected, eased in when they return.
    Ejecting,
}

/// What makes the choice.
pub(crate) struct Chooser {
    pub(crate) servers: Servers,
    /// Who is ejected, if anybody can be.
    pub(crate) ejections: Option<StatusReceiver<EjectionStatus>>,
}

impl Policy {
    pub(crate) const ALL: [Self; 8] = [
        Self::RoundRobin,
        Self::Random,
        Self::Weighted,
        Self::WeightedRandom,
        Self::ConsistentHash,
        Self::LeastLoaded,
        Self::PeakEwma,
        Self::Ejecting,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
            Self::Weighted => "weighted",
            Self::WeightedRandom => "weighted-random",
            Self::ConsistentHash => "consistent-hash",
            Self::LeastLoaded => "least-loaded",
            Self::PeakEwma => "peak-ewma",
            Self::Ejecting => "ejecting",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, BoxError> {
        let named = Self::ALL.into_iter().find(|policy| policy.name() == name);
        named.ok_or_else(|| format!("there is no balancer {name:?}").into())
    }

    /// The balancer over the endpoints.
    pub(crate) fn chooser(self, endpoints: &Arc<Endpointer<Arc<Server>>>) -> Chooser {
        let endpoints = endpoints.clone();
        let mut ejections = None;
        let servers: Servers = match self {
            Self::RoundRobin => Arc::new(RoundRobin::new(endpoints)),
            Self::Random => Arc::new(Random::new(endpoints)),
            Self::Weighted => Arc::new(Weighted::new(endpoints)),
            Self::WeightedRandom => Arc::new(WeightedRandom::new(endpoints)),
            Self::ConsistentHash => Arc::new(ConsistentHash::new(endpoints)),
            Self::LeastLoaded => Arc::new(LeastLoaded::new(endpoints)),
            Self::PeakEwma => {
                let decay = Duration::from_secs(2);
                Arc::new(LeastLoaded::builder(endpoints).peak_ewma(decay).build())
            }
            Self::Ejecting => {
                // All times are shorter than one would choose, so that there is something to see.
                let ejection = Ejection::builder(endpoints)
                    .ejection_time(Duration::from_secs(1), Duration::from_secs(3))
                    .build();
                ejections = Some(ejection.status());
                let eased = SlowStart::builder(ejection).window(Duration::from_secs(2));
                Arc::new(LeastLoaded::new(eased.build()))
            }
        };
        Chooser { servers, ejections }
    }
}
