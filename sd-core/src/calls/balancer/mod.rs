//! Balancers: choose the endpoint for the next call.

mod alias_table;
mod consistent_hash;
mod least_loaded;
mod random;
mod round_robin;
mod turns;
mod weighted;
mod weighted_random;

pub use consistent_hash::{ConsistentHash, ConsistentHashBuilder};
pub use least_loaded::{LeastLoaded, LeastLoadedBuilder};
pub use random::Random;
pub use round_robin::RoundRobin;
pub use weighted::Weighted;
pub use weighted_random::WeightedRandom;

use super::{
    endpoint::Endpoint,
    endpoint_source::EndpointSource,
    endpoint_table::Endpoints,
    no_endpoints::NoEndpoints,
    pick::{Pick, PickContext},
    table_index::TableIndex,
};
use std::sync::Arc;
use tokio::sync::watch;

/// Picks an endpoint for each call.
///
/// ```
/// use sd_core::{Balancer, NoEndpoints, Outcome};
/// # struct Client;
/// # impl Client { async fn hello(&self) -> std::io::Result<String> { Ok("hello".into()) } }
///
/// type Clients = dyn Balancer<Target = Client>;
///
/// async fn hello(clients: &Clients) -> Result<String, Box<dyn std::error::Error>> {
///     let client = clients.endpoint()?;
///     let answer = client.hello().await;
///     client.report(match answer {
///         Ok(_) => Outcome::Success,
///         Err(_) => Outcome::Failure,
///     });
///     Ok(answer?)
/// }
/// ```
///
/// [`Retry`](crate::Retry) does the reporting, and calls another endpoint when one fails.
///
/// # Which one to choose
/// | balancer | for |
/// |---|---|
/// | [`RoundRobin`] | equal endpoints, and calls of about equal cost |
/// | [`Random`] | the same, if the calls have a pattern that turns would fall into step with |
/// | [`Weighted`] | endpoints of different size, and calls of about equal cost |
/// | [`WeightedRandom`] | the same, if the calls have a pattern |
/// | [`LeastLoaded`] | calls of different cost, or endpoints of different speed |
/// | [`ConsistentHash`] | calls that do better at an endpoint that has seen their key before |
pub trait Balancer: Send + Sync {
    /// The target of its endpoints: what a [`Factory`](crate::Factory) makes from an instance.
    type Target: Send + Sync + 'static;

    /// Picks an endpoint for the call that `context` describes. Does not block or wait.
    ///
    /// # Errors
    /// [`NoEndpoints`] if there are no endpoints. If all were tried already, one of them is picked
    /// again.
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<Self::Target>, NoEndpoints>;

    /// Picks an endpoint with an empty context.
    ///
    /// # Errors
    /// As [`pick`](Self::pick).
    #[inline]
    fn endpoint(&self) -> Result<Pick<Self::Target>, NoEndpoints> {
        self.pick(&PickContext::new())
    }

    /// A channel that changes when a pick may have another result, for callers that wait for an
    /// endpoint: the [versions](crate::EndpointSource::versions) of its source.
    fn versions(&self) -> watch::Receiver<u64>;
}

impl<B: Balancer + ?Sized> Balancer for &B {
    type Target = B::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<B::Target>, NoEndpoints> {
        (**self).pick(context)
    }

    fn versions(&self) -> watch::Receiver<u64> {
        (**self).versions()
    }
}

impl<B: Balancer + ?Sized> Balancer for Arc<B> {
    type Target = B::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<B::Target>, NoEndpoints> {
        (**self).pick(context)
    }

    fn versions(&self) -> watch::Receiver<u64> {
        (**self).versions()
    }
}

impl<B: Balancer + ?Sized> Balancer for Box<B> {
    type Target = B::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<B::Target>, NoEndpoints> {
        (**self).pick(context)
    }

    fn versions(&self) -> watch::Receiver<u64> {
        (**self).versions()
    }
}

/// What `choose` chooses from the current endpoints of `source`, of which there is at least one. `choose` is short
/// and calls nothing foreign.
#[inline]
fn choose<S: EndpointSource>(
    source: &S,
    choose: impl for<'t> FnOnce(&'t [Arc<Endpoint<S::Target>>]) -> &'t Arc<Endpoint<S::Target>>,
) -> Result<Arc<Endpoint<S::Target>>, NoEndpoints> {
    let read = |table: &Endpoints<S::Target>| Ok(choose(table.non_empty()?).clone());
    match source.table_ref() {
        Some(table) => table.read(read),
        None => read(&source.endpoints()),
    }
}

/// The same by an index of the table.
#[inline]
fn choose_by<S: EndpointSource, I: Send + Sync + 'static>(
    source: &S,
    index: &TableIndex<S::Target, I>,
    mut choose: impl for<'t> FnMut(
        &'t I,
        &'t [Arc<Endpoint<S::Target>>],
    ) -> &'t Arc<Endpoint<S::Target>>,
) -> Result<Arc<Endpoint<S::Target>>, NoEndpoints> {
    let chosen = source.table_ref().map(|table| {
        table.read(|table| {
            let endpoints = table.non_empty()?;
            let index = index.get(table);
            Ok::<_, NoEndpoints>(index.map(|index| choose(index, endpoints).clone()))
        })
    });
    if let Some(Some(chosen)) = chosen.transpose()? {
        return Ok(chosen);
    }
    // The index is not built while the table is read in place: that may take long, and be foreign code.
    let table = source.endpoints();
    let endpoints = table.non_empty()?;
    Ok(choose(index.of(&table), endpoints).clone())
}

/// How many times a random balancer draws an endpoint that was already tried, before it takes the
/// next untried one in order.
const DRAWS: usize = 8;

/// The first of `choices`, indices into `endpoints`, that was not tried. If all were, the next one
/// that was not, from the last choice on and around.
#[inline]
fn first_untried<'a, E>(
    endpoints: &'a [Arc<Endpoint<E>>],
    choices: impl Iterator<Item = usize>,
    context: &PickContext<'_>,
) -> &'a Arc<Endpoint<E>> {
    let mut last = 0;
    for choice in choices {
        if !context.has_tried(&endpoints[choice]) {
            return &endpoints[choice];
        }
        last = choice;
    }
    untried_from(endpoints, last, context)
}

/// The first endpoint that was not tried, from `start` on and around; the one at `start` if all
/// were tried. `start` must be a valid index.
#[inline]
fn untried_from<'a, E>(
    endpoints: &'a [Arc<Endpoint<E>>],
    start: usize,
    context: &PickContext<'_>,
) -> &'a Arc<Endpoint<E>> {
    let first = &endpoints[start];
    if !context.has_tried(first) {
        return first;
    }
    let (before, after) = endpoints.split_at(start);
    after
        .iter()
        .chain(before)
        .find(|endpoint| !context.has_tried(endpoint))
        .unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calls::endpointer::FixedEndpointer, instances::Instance, registry::Key};
    use std::{sync::Barrier, thread};

    pub(super) fn endpoints(names: &[&str]) -> FixedEndpointer<()> {
        let endpoint = |name: &&str| Endpoint::new(instance(name), ());
        FixedEndpointer::new(names.iter().map(endpoint))
    }

    /// Endpoints with these names and weights.
    pub(super) fn weighted(of: &[(&str, u32)]) -> FixedEndpointer<()> {
        let endpoint = |(name, weight): &(&str, u32)| {
            let instance = (*instance(name)).clone().with_weight(*weight);
            Endpoint::new(instance, ())
        };
        FixedEndpointer::new(of.iter().map(endpoint))
    }

    /// An instance whose key is `name`, at an address of its own.
    pub(super) fn instance(name: &str) -> Arc<Instance> {
        let key = Key::new(name).unwrap();
        Arc::new(Instance::new(key, format!("{name}:1")))
    }

    #[test]
    fn balancers_are_objects() {
        let shared: Arc<dyn Balancer<Target = ()>> = Arc::new(Random::new(endpoints(&["a"])));
        let balancers: [Box<dyn Balancer<Target = ()>>; 5] = [
            Box::new(RoundRobin::new(endpoints(&["a"]))),
            Box::new(Random::new(endpoints(&["a"]))),
            Box::new(Weighted::new(endpoints(&["a"]))),
            Box::new(ConsistentHash::new(endpoints(&["a"]))),
            Box::new(shared),
        ];
        for balancer in balancers {
            assert_eq!(balancer.endpoint().unwrap().key().as_str(), "a");
        }
    }

    #[test]
    fn a_thread_that_no_longer_picks_keeps_nothing_alive() {
        let source = Arc::new(endpoints(&["a"]));
        let balancers: [Box<dyn Balancer<Target = ()>>; 4] = [
            Box::new(RoundRobin::new(source.clone())),
            Box::new(Weighted::new(source.clone())),
            Box::new(LeastLoaded::new(source.clone())),
            Box::new(ConsistentHash::new(source.clone())),
        ];
        let host = Arc::downgrade(source.endpoints()[0].host());
        let step = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                for balancer in &balancers {
                    assert!(balancer.endpoint().is_ok());
                }
                step.wait();
                // The thread still lives.
                step.wait();
                for balancer in &balancers {
                    assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Empty)));
                }
            });
            step.wait();
            source.set([]);
            let is_gone = host.upgrade().is_none();
            step.wait();
            assert!(is_gone);
        });
    }

    #[test]
    fn sources_are_objects() {
        let source = Arc::new(endpoints(&["a"]));
        let boxed: Box<dyn EndpointSource<Target = ()>> = Box::new(source.clone());
        let shared: Arc<dyn EndpointSource<Target = ()>> = source;
        assert_eq!(*boxed.versions().borrow(), shared.endpoints().version());
        let balancers = (RoundRobin::new(boxed), Random::new(shared));
        assert_eq!(balancers.0.endpoint().unwrap().key().as_str(), "a");
        assert_eq!(balancers.1.endpoint().unwrap().key().as_str(), "a");
    }
}
