//! The balancers that are compared.

use crate::{server::Server, traffic::Servers};
use sd_core::{BoxError, Endpointer, Random, RoundRobin};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    RoundRobin,
    Random,
}

impl Policy {
    pub(crate) const ALL: [Self; 2] = [Self::RoundRobin, Self::Random];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, BoxError> {
        let named = Self::ALL.into_iter().find(|policy| policy.name() == name);
        named.ok_or_else(|| format!("there is no balancer {name:?}").into())
    }

    /// The balancer over the endpoints.
    pub(crate) fn balancer(self, endpoints: &Arc<Endpointer<Arc<Server>>>) -> Servers {
        let endpoints = endpoints.clone();
        match self {
            Self::RoundRobin => Arc::new(RoundRobin::new(endpoints)),
            Self::Random => Arc::new(Random::new(endpoints)),
        }
    }
}
