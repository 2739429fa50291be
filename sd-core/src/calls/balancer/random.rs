//! Random choice.

use super::{Balancer, DRAWS, choose, first_untried};
use crate::calls::{
    endpoint_source::EndpointSource,
    no_endpoints::NoEndpoints,
    pick::{Pick, PickContext},
};
use std::iter::repeat_with;
use tokio::sync::watch;

/// Picks an endpoint at random, each with the same probability, whatever its weight.
///
/// ```
/// use sd_core::{Balancer, Endpoint, FixedEndpointer, Instance, Key, Random};
///
/// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:80");
/// let balancer = Random::new(FixedEndpointer::new([Endpoint::new(instance, ())]));
/// assert_eq!(balancer.endpoint()?.address(), "10.0.0.1:80");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Random<S> {
    source: S,
}

impl<S> Random<S> {
    /// Picks among the endpoints of `source`.
    pub fn new(source: S) -> Self {
        Self { source }
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S: EndpointSource> Balancer for Random<S> {
    type Target = S::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<S::Target>, NoEndpoints> {
        let picked = choose(&self.source, |endpoints| {
            let draws = repeat_with(|| fastrand::usize(..endpoints.len())).take(DRAWS);
            first_untried(endpoints, draws, context)
        });
        picked.map(Pick::new)
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.source.versions()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{endpoints, instance},
        *,
    };
    use crate::calls::endpointer::FixedEndpointer;
    use std::collections::HashMap;

    #[test]
    fn each_is_as_likely_as_the_other() {
        fastrand::seed(17);
        let balancer = Random::new(endpoints(&["a", "b", "c", "d"]));
        let mut counts = HashMap::new();
        for _ in 0..4000 {
            *counts
                .entry(balancer.endpoint().unwrap().key().clone())
                .or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 4);
        assert!(counts.values().all(|count| (850..1150).contains(count)));
    }

    #[test]
    fn the_untried_come_first() {
        let names: Vec<_> = (0..100).map(|n| format!("{n:03}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let balancer = Random::new(endpoints(&names));
        let tried: Vec<_> = names.iter().map(|name| instance(name)).collect();
        for _ in 0..50 {
            let context = PickContext::new().with_tried(&tried[..99]);
            assert_eq!(balancer.pick(&context).unwrap().key().as_str(), "099");
        }
        let all = PickContext::new().with_tried(&tried);
        assert!(balancer.pick(&all).is_ok());
    }

    #[test]
    fn no_endpoints_is_an_error_that_says_why() {
        let balancer = Random::new(FixedEndpointer::<()>::unknown());
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Unknown)));
    }
}
