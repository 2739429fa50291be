//! Random choice by weight.

use super::{Balancer, DRAWS, alias_table::AliasTable, choose_by, first_untried};
use crate::calls::{
    endpoint_source::EndpointSource,
    no_endpoints::NoEndpoints,
    pick::{Pick, PickContext},
    table_index::TableIndex,
};
use std::{fmt, iter::repeat_with};
use tokio::sync::watch;

/// Picks an endpoint at random, with a probability in proportion to its
/// [weight](crate::Endpoint::effective_weight).
///
/// Choose it where a counter is not wanted: for callers that make calls in a pattern, with which
/// turns fall into step, and for many clients that make few calls each. Picks do not depend on each
/// other, so over few calls an endpoint may get noticeably more or less than its share: of n calls,
/// its share give or take about the square root of that. It does not look at how busy endpoints
/// are; [`LeastLoaded`](crate::LeastLoaded) does.
///
/// A pick takes the same time for any number of endpoints. It draws from an alias table (Vose 1991,
/// "A Linear Algorithm for Generating Random Numbers with a Given Distribution"), which is built
/// when the endpoints change.
///
/// ```
/// use sd_core::{Balancer, Endpoint, FixedEndpointer, Instance, Key, WeightedRandom};
///
/// let small = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:80");
/// let large = Instance::new(Key::new("/services/hello/b")?, "10.0.0.2:80").with_weight(9);
/// let endpoints = FixedEndpointer::new([Endpoint::new(small, ()), Endpoint::new(large, ())]);
/// let balancer = WeightedRandom::new(endpoints);
/// let picks = (0..100).map(|_| balancer.endpoint().map(|picked| picked.weight()));
/// let picks = picks.collect::<Result<Vec<_>, _>>()?;
/// let large = picks.iter().filter(|weight| **weight == 9).count();
/// assert!(large > 50); // mostly about 90
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WeightedRandom<S: EndpointSource> {
    source: S,
    weights: TableIndex<S::Target, AliasTable>,
}

impl<S: EndpointSource> WeightedRandom<S> {
    /// Picks among the endpoints of `source`.
    pub fn new(source: S) -> Self {
        let weights = TableIndex::new(AliasTable::of);
        weights.of(&source.endpoints());
        Self { source, weights }
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S: EndpointSource> Balancer for WeightedRandom<S> {
    type Target = S::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<S::Target>, NoEndpoints> {
        let picked = choose_by(&self.source, &self.weights, |weights, endpoints| {
            let draws = repeat_with(|| weights.draw(fastrand::u64(..))).take(DRAWS);
            first_untried(endpoints, draws, context)
        });
        picked.map(Pick::new)
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.source.versions()
    }
}

impl<S: EndpointSource + fmt::Debug> fmt::Debug for WeightedRandom<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightedRandom")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{endpoints, instance, weighted},
        *,
    };
    use crate::calls::endpointer::FixedEndpointer;
    use std::sync::Arc;

    const PICKS: u32 = 20_000;

    /// How many picks of `name` there are, and how many were to be expected at most and at least:
    /// its share, give or take six standard deviations of the binomial distribution.
    fn gets_its_share<S: EndpointSource>(balancer: &WeightedRandom<S>, name: &str, share: f64) {
        let is_it = |_: &u32| balancer.endpoint().unwrap().key().as_str() == name;
        let picked = f64::from((0..PICKS).filter(is_it).count() as u32);
        let expected = f64::from(PICKS) * share;
        let bound = 6.0 * (expected * (1.0 - share)).sqrt();
        let off = (picked - expected).abs();
        assert!(off <= bound, "{name}: {picked} of {expected} ± {bound}");
    }

    #[test]
    fn everyone_gets_its_share() {
        fastrand::seed(5);
        let balancer = WeightedRandom::new(weighted(&[("a", 1), ("b", 2), ("c", 7)]));
        for (name, share) in [("a", 0.1), ("b", 0.2), ("c", 0.7)] {
            gets_its_share(&balancer, name, share);
        }
    }

    #[test]
    fn a_new_weight_acts_at_once() {
        fastrand::seed(6);
        let source = Arc::new(weighted(&[("a", 1), ("b", 1)]));
        let balancer = WeightedRandom::new(source.clone());
        gets_its_share(&balancer, "a", 0.5);
        let [a, b] = [0, 1].map(|n| source.endpoints()[n].clone());
        source.set_shared([a.clone(), Arc::new(b.with_weight_factor(0.25))]);
        gets_its_share(&balancer, "a", 0.8);
        source.set_shared([a]);
        gets_its_share(&balancer, "a", 1.0);
    }

    #[test]
    fn the_untried_come_first() {
        let heavy = (0..99).map(|n| (format!("{n:03}"), 1000));
        let all: Vec<_> = heavy.chain([("099".into(), 1)]).collect();
        let all: Vec<_> = all
            .iter()
            .map(|(name, weight)| (&**name, *weight))
            .collect();
        let balancer = WeightedRandom::new(weighted(&all));
        let tried: Vec<_> = all.iter().map(|(name, _)| instance(name)).collect();
        for _ in 0..50 {
            let context = PickContext::new().with_tried(&tried[..99]);
            assert_eq!(balancer.pick(&context).unwrap().key().as_str(), "099");
        }
        let all = PickContext::new().with_tried(&tried);
        assert!(balancer.pick(&all).is_ok());
    }

    #[test]
    fn no_endpoints_is_an_error_that_says_why() {
        let source = Arc::new(FixedEndpointer::<()>::unknown());
        let balancer = WeightedRandom::new(source.clone());
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Unknown)));
        source.set([]);
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Empty)));
        let balancer = WeightedRandom::new(endpoints(&["a"]));
        assert!(balancer.endpoint().is_ok());
    }
}
