//! Round robin.

use super::{Balancer, untried_from};
use crate::calls::{
    endpoint_source::EndpointSource,
    no_endpoints::NoEndpoints,
    pick::{Pick, PickContext},
};
use std::{
    cell::Cell,
    fmt,
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use tokio::sync::watch;

/// Picks the endpoints in turn, in the order of their keys.
///
/// Starts at a random endpoint, so that clients that start together do not all call the same one.
/// Each thread has a counter of its own, so that threads do not contend; every endpoint still gets
/// its share of the picks of all threads together.
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
pub struct RoundRobin<S> {
    source: S,
    counters: Box<[Counter]>,
}

/// The counter of some threads. Aligned so that no two counters share a cache line, or a pair of
/// lines that is fetched together.
#[repr(align(128))]
struct Counter(AtomicUsize);

impl<S> RoundRobin<S> {
    /// Takes turns among the endpoints of `source`.
    pub fn new(source: S) -> Self {
        // More counters than processors, since the numbers of picking threads are seldom
        // consecutive.
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let counters = (2 * threads.min(64)).next_power_of_two();
        // A small start, so that the counter does not wrap, or need a 64-bit division, for long.
        Self::starting_at(source, counters, || usize::from(fastrand::u16(..)))
    }

    /// `counters` is a power of two.
    fn starting_at(source: S, counters: usize, start: impl Fn() -> usize) -> Self {
        let counters = (0..counters)
            .map(|_| Counter(AtomicUsize::new(start())))
            .collect();
        Self { source, counters }
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        &self.source
    }

    #[inline]
    fn count(&self) -> usize {
        // The number of counters is a power of two.
        let mine = thread_number() & (self.counters.len() - 1);
        self.counters[mine].0.fetch_add(1, Ordering::Relaxed)
    }
}

impl<S: EndpointSource> Balancer for RoundRobin<S> {
    type Target = S::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<S::Target>, NoEndpoints> {
        let table = self.source.endpoints();
        let endpoints = table.non_empty()?;
        let start = self.count() % endpoints.len();
        let picked = untried_from(endpoints, start, context);
        Ok(Pick::new(picked.clone()))
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

/// The number of this thread. Threads are numbered from 0 as they first pick.
#[inline]
fn thread_number() -> usize {
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    #[cold]
    fn draw() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(number);
        number
    }
    match NUMBER.get() {
        usize::MAX => draw(),
        number => number,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{endpoints, instance},
        *,
    };
    use crate::calls::endpointer::FixedEndpointer;
    use std::{collections::HashMap, sync::Arc};

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
        let balancer = RoundRobin::starting_at(endpoints(&["a", "b", "c"]), 1, || 1);
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
        let balancer = RoundRobin::starting_at(endpoints(&["a", "b"]), 1, || usize::MAX - 1);
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
        let balancer = RoundRobin::starting_at(endpoints(&["a", "b", "c"]), 1, || 0);
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
    fn no_endpoints_is_an_error_that_says_why() {
        let source = Arc::new(FixedEndpointer::<()>::unknown());
        let balancer = RoundRobin::new(source.clone());
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Unknown)));
        source.set([]);
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Empty)));
    }
}
