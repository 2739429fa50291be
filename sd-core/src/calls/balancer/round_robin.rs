//! Round robin.

use super::{Balancer, choose, turns::Turns, untried_from};
use crate::calls::{
    endpoint_source::EndpointSource,
    no_endpoints::NoEndpoints,
    pick::{Pick, PickContext},
};
use std::fmt;
use tokio::sync::watch;

/// Picks the endpoints in turn, in the order of their keys.
///
/// Each thread takes turns by itself, so that threads do not contend; every endpoint still gets its
/// share of the picks of all threads together. Each begins at a random endpoint, so that clients
/// that start together do not all call the same one. (A thread goes on where one that has ended was.)
///
/// ```
/// use sd_core::{Balancer, Endpoint, FixedEndpointer, Instance, Key, RoundRobin};
///
/// let one = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:80");
/// let other = Instance::new(Key::new("/services/hello/b")?, "10.0.0.2:80");
/// let endpoints = FixedEndpointer::new([Endpoint::new(one, 1), Endpoint::new(other, 2)]);
/// let balancer = RoundRobin::new(endpoints);
/// let (first, second) = (balancer.endpoint()?, balancer.endpoint()?);
/// assert_ne!(first.key(), second.key());
/// assert_eq!(first.key(), balancer.endpoint()?.key());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When to choose it
/// For equal endpoints and calls of about equal cost: of the calls of one thread, no endpoint gets
/// more than one more than another. It ignores weights; [`Weighted`](crate::Weighted) does not.
///
/// # It falls into step
/// A turn knows nothing about the call, so a pattern in the calls becomes a pattern of endpoints
/// where their lengths have a common factor:
/// - A caller that alternates a cheap call and an expensive one, over two endpoints (or any even
///   number), sends every expensive call to the same half of them.
/// - A second attempt takes a turn as well. Of two endpoints where one fails, the failed call and
///   its repetition take both turns, so that every call goes to the failing one first.
///
/// [`Random`](crate::Random) and [`LeastLoaded`](crate::LeastLoaded) have no pattern to fall into
/// step with.
pub struct RoundRobin<S> {
    source: S,
    turns: Turns,
}

impl<S> RoundRobin<S> {
    /// Takes turns among the endpoints of `source`.
    pub fn new(source: S) -> Self {
        let turns = Turns::new();
        Self { source, turns }
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S: EndpointSource> Balancer for RoundRobin<S> {
    type Target = S::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<S::Target>, NoEndpoints> {
        let picked = choose(&self.source, |endpoints| {
            let start = self.turns.next_in(endpoints.len());
            untried_from(endpoints, start, context)
        });
        picked.map(Pick::new)
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.source.versions()
    }
}

impl<S: fmt::Debug> fmt::Debug for RoundRobin<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoundRobin")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{endpoints, instance},
        *,
    };
    use crate::calls::endpointer::FixedEndpointer;
    use std::{collections::HashMap, sync::Arc, thread};

    fn starting_at(start: usize, names: &[&str]) -> RoundRobin<FixedEndpointer<()>> {
        RoundRobin {
            source: endpoints(names),
            turns: Turns::from(start),
        }
    }

    fn next<S: EndpointSource>(balancer: &RoundRobin<S>) -> String {
        balancer.endpoint().unwrap().key().to_string()
    }

    fn counts(picks: impl Iterator<Item = String>) -> HashMap<String, usize> {
        picks.fold(HashMap::new(), |mut counts, pick| {
            *counts.entry(pick).or_default() += 1;
            counts
        })
    }

    #[test]
    fn everyone_gets_a_turn_in_order() {
        let balancer = starting_at(1, &["a", "b", "c"]);
        let picks: Vec<_> = (0..5).map(|_| next(&balancer)).collect();
        assert_eq!(picks, ["b", "c", "a", "b", "c"]);
    }

    #[test]
    fn clients_start_at_random() {
        let source = Arc::new(endpoints(&["a", "b", "c", "d"]));
        let starts = counts((0..400).map(|_| next(&RoundRobin::new(source.clone()))));
        assert_eq!(starts.len(), 4);
        assert!(starts.values().all(|count| *count > 20), "{starts:?}");
    }

    #[test]
    fn the_counter_may_wrap() {
        let balancer = starting_at(usize::MAX - 1, &["a", "b"]);
        let picks: Vec<_> = (0..4).map(|_| next(&balancer)).collect();
        assert_eq!(picks, ["a", "b", "a", "b"]);
    }

    #[test]
    fn threads_together_give_everyone_its_share() {
        let balancer = RoundRobin::new(endpoints(&["a", "b", "c", "d"]));
        let all = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..400).map(|_| next(&balancer)).collect::<Vec<_>>()))
                .collect();
            let picks = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            counts(picks)
        });
        // Threads that share a counter agree; those that do not are off by less than one each.
        assert!(
            all.values().all(|count| (396..=404).contains(count)),
            "{all:?}"
        );
    }

    #[test]
    fn the_untried_come_first() {
        let balancer = starting_at(0, &["a", "b", "c"]);
        let (a, b, c) = ("a", "b", "c");
        let tried = [a, b].map(instance);
        let context = PickContext::new().with_tried(&tried);
        for _ in 0..3 {
            assert_eq!(balancer.pick(&context).unwrap().key().as_str(), "c");
        }
        let tried = [a, b, c].map(instance);
        let context = PickContext::new().with_tried(&tried);
        assert!(balancer.pick(&context).is_ok());
    }

    #[test]
    fn it_falls_into_step_with_calls_as_its_page_says() {
        let balancer = starting_at(0, &["a", "b"]);
        let expensive = (0..6).map(|_| (next(&balancer), next(&balancer)).1);
        assert_eq!(counts(expensive), HashMap::from([("b".into(), 6)]));
        let tried = [instance("a")];
        for _ in 0..6 {
            assert_eq!(next(&balancer), "a");
            let again = balancer.pick(&PickContext::new().with_tried(&tried));
            assert_eq!(again.unwrap().key().as_str(), "b");
        }
    }

    #[test]
    fn no_endpoints_is_an_error_that_says_why() {
        let source = Arc::new(FixedEndpointer::<()>::unknown());
        let balancer = RoundRobin::new(source.clone());
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Unknown)));
        source.set([]);
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Empty)));
    }
}
