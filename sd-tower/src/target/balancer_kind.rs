//! Balancers by their names.

use sd_core::{
    Balancer, ConsistentHash, EndpointSource, LeastLoaded, Random, RoundRobin, Weighted,
    WeightedRandom,
};
use std::fmt;

/// A balancer of the toolkit, by its name in a [`Target`](crate::Target).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BalancerKind {
    /// `round_robin`: [`RoundRobin`].
    RoundRobin,
    /// `random`: [`Random`].
    Random,
    /// `weighted`: [`Weighted`].
    Weighted,
    /// `weighted_random`: [`WeightedRandom`].
    WeightedRandom,
    /// `least_loaded`: [`LeastLoaded`].
    LeastLoaded,
    /// `consistent_hash`: [`ConsistentHash`]. Calls need a
    /// [hash key](sd_core::PickContext::with_hash_key).
    ConsistentHash,
}

impl BalancerKind {
    const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::Random,
        Self::Weighted,
        Self::WeightedRandom,
        Self::LeastLoaded,
        Self::ConsistentHash,
    ];

    /// The name, as in a target.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::Weighted => "weighted",
            Self::WeightedRandom => "weighted_random",
            Self::LeastLoaded => "least_loaded",
            Self::ConsistentHash => "consistent_hash",
        }
    }

    /// The balancer over the endpoints of `source`, with its default options.
    pub fn over<S: EndpointSource>(self, source: S) -> Box<dyn Balancer<Target = S::Target>> {
        match self {
            Self::RoundRobin => Box::new(RoundRobin::new(source)),
            Self::Random => Box::new(Random::new(source)),
            Self::Weighted => Box::new(Weighted::new(source)),
            Self::WeightedRandom => Box::new(WeightedRandom::new(source)),
            Self::LeastLoaded => Box::new(LeastLoaded::new(source)),
            Self::ConsistentHash => Box::new(ConsistentHash::new(source)),
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// All of them, for messages.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// The name.
impl fmt::Display for BalancerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;
    use sd_core::{Endpoint, FixedEndpointer, Instance, Key, PickContext};
    use std::collections::BTreeSet;

    fn endpoints() -> FixedEndpointer<()> {
        let endpoint = |n| {
            let instance =
                Instance::new(Key::new(format!("{n}")).unwrap(), format!("10.0.0.{n}:80"));
            Endpoint::new(instance, ())
        };
        FixedEndpointer::new((0..8).map(endpoint))
    }

    #[test]
    fn every_balancer_has_a_name_and_reaches_all() {
        for kind in BalancerKind::ALL {
            let target: Target = format!("memory:///hello?balancer={kind}").parse().unwrap();
            assert_eq!(target.options().balancer(), Some(kind));
            let balancer = kind.over(endpoints());
            let picks = (0..1000_u64).map(|key| {
                let pick = balancer
                    .pick(&PickContext::new().with_hash_key(&key.to_be_bytes()))
                    .unwrap();
                pick.key().to_string()
            });
            assert_eq!(picks.collect::<BTreeSet<_>>().len(), 8, "{kind}");
        }
        let target: Target = "memory:///hello".parse().unwrap();
        assert_eq!(target.options().balancer(), None);
    }
}
