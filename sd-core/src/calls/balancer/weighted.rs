//! Round robin by weight.

mod schedule;
mod slot_counts;
mod slot_set;

use super::{Balancer, choose_by, first_untried, turns::Turns};
use crate::calls::{
    endpoint::Endpoint,
    endpoint_source::EndpointSource,
    no_endpoints::NoEndpoints,
    pick::{Pick, PickContext},
    table_index::TableIndex,
};
use schedule::Schedule;
use std::{fmt, sync::Arc};
use tokio::sync::watch;

/// Picks the endpoints in turn, each as often as its weight says, as evenly spaced as the others
/// allow.
///
/// An endpoint of weight 3 among nine of weight 1 gets every fourth call, never three in a row. The
/// weight is that of the instance, times what an adapter makes of it
/// ([`effective_weight`](Endpoint::effective_weight)). A change of weights acts on the next pick.
///
/// ```
/// use sd_core::{Balancer, Endpoint, FixedEndpointer, Instance, Key, Weighted};
///
/// let endpoint = |name, weight| {
///     let instance = Instance::new(Key::new(name)?, name).with_weight(weight);
///     Ok::<_, sd_core::Invalid>(Endpoint::new(instance, ()))
/// };
/// let endpoints = FixedEndpointer::new([endpoint("large", 3)?, endpoint("small", 1)?]);
/// let balancer = Weighted::new(endpoints);
/// let picks: Vec<_> = (0..8).map(|_| balancer.endpoint()).collect::<Result<_, _>>()?;
/// assert_eq!(picks.iter().filter(|pick| pick.address() == "large").count(), 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When to choose it
/// For instances of different size and calls of about equal cost. With equal weights it is
/// [`RoundRobin`](crate::RoundRobin). As that, it falls into step with patterns in the calls;
/// [`WeightedRandom`](crate::WeightedRandom) does not.
///
/// # What it promises
/// The endpoints take turns by a cycle of up to 65,536 slots, or four for each endpoint if that is
/// more.
/// - Over one cycle, every endpoint gets exactly its share. Shares that need a longer cycle are
///   rounded to slots, down or up, to one slot at least.
/// - In any 2 n consecutive picks of one thread, where n is the number of endpoints, no endpoint
///   gets more than its share and three.
///
/// Each thread goes through the cycle by itself, from a random slot on, so that threads do not
/// contend. Of more threads than twice the processors that live at a time, the further ones share their
/// places in the cycle. The promises are then for the picks of those threads together.
///
/// Picks that follow a [tried](PickContext::tried) endpoint take the next slot of another one.
///
/// # How
/// The cycle is computed when the endpoints change, not during a pick, by scheduling the turns with
/// the earliest deadline first (Tijdeman 1980, "The chairman assignment problem"; Baruah, Cohen,
/// Plaxton, Varvel 1996, "Proportionate progress"). It takes up to 256 KiB.
pub struct Weighted<S: EndpointSource> {
    source: S,
    turns: Turns,
    schedule: TableIndex<S::Target, Schedule>,
}

/// How many further slots to look at if an endpoint was already tried, before taking the next
/// untried one in order.
const FURTHER_SLOTS: usize = 8;

impl<S: EndpointSource> Weighted<S> {
    /// Takes turns among the endpoints of `source`, by weight.
    pub fn new(source: S) -> Self {
        Self::with_turns(source, Turns::new())
    }

    fn with_turns(source: S, turns: Turns) -> Self {
        let schedule = TableIndex::new(|endpoints: &[Arc<Endpoint<S::Target>>]| {
            let weights: Vec<_> = endpoints.iter().map(|one| one.effective_weight()).collect();
            Schedule::new(&weights)
        });
        schedule.of(&source.endpoints());
        Self {
            source,
            turns,
            schedule,
        }
    }

    /// The source of the endpoints.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S: EndpointSource> Balancer for Weighted<S> {
    type Target = S::Target;

    #[inline]
    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<S::Target>, NoEndpoints> {
        let picked = choose_by(&self.source, &self.schedule, |schedule, endpoints| {
            let cycle = schedule.cycle(endpoints.len());
            let turn = self.turns.next_in(cycle);
            let turns = (0..=FURTHER_SLOTS).map(|further| match turn + further {
                turn if turn < cycle => turn,
                turn => turn % cycle,
            });
            let slots = turns.map(|turn| schedule.endpoint_at(turn));
            first_untried(endpoints, slots, context)
        });
        picked.map(Pick::new)
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.source.versions()
    }
}

impl<S: EndpointSource + fmt::Debug> fmt::Debug for Weighted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Weighted")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::instance, *};
    use crate::{calls::endpointer::FixedEndpointer, instances::Instance};
    use proptest::{collection::vec, prelude::*};
    use std::{collections::HashMap, thread};

    /// An endpoint for each weight, whose target is its index.
    fn endpoints(weights: &[u32]) -> Vec<Endpoint<usize>> {
        let endpoint = |(n, weight): (usize, &u32)| {
            let instance = instance(&format!("{n:05}"));
            Endpoint::new(Instance::clone(&instance).with_weight(*weight), n)
        };
        weights.iter().enumerate().map(endpoint).collect()
    }

    fn balancer(weights: &[u32], start: usize) -> Weighted<FixedEndpointer<usize>> {
        let turns = Turns::from(start);
        Weighted::with_turns(FixedEndpointer::new(endpoints(weights)), turns)
    }

    fn picks<S: EndpointSource<Target = usize>>(
        balancer: &Weighted<S>,
        count: usize,
    ) -> Vec<usize> {
        let picks = (0..count).map(|_| *balancer.endpoint().unwrap().target());
        picks.collect()
    }

    #[test]
    fn heavy_endpoints_get_more_turns_and_nobody_gets_a_burst() {
        assert_eq!(
            picks(&balancer(&[5, 1, 1], 0), 9),
            [0, 0, 0, 1, 0, 0, 2, 0, 0]
        );
        assert_eq!(picks(&balancer(&[2, 2, 2], 1), 4), [1, 2, 0, 1]);
        // Weight 0 is only in a table of such: all alike.
        assert_eq!(picks(&balancer(&[0, 0], 0), 3), [0, 1, 0]);
    }

    /// No endpoint gets more than its share and three in any 2 n picks of `picks`.
    fn no_window_has_more_than_the_share_and_three(weights: &[u32], picks: &[usize]) {
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let window = 2 * weights.len();
        let most = |n: usize| (window as u64 * u64::from(weights[n]) / total + 3) as usize;
        let mut counts = vec![0; weights.len()];
        for (at, pick) in picks.iter().enumerate() {
            counts[*pick] += 1;
            if at >= window {
                counts[picks[at - window]] -= 1;
            }
            assert!(counts[*pick] <= most(*pick), "{weights:?} at {at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn everyone_gets_its_share_of_a_cycle_and_of_any_window(
            weights in vec(prop_oneof![1..4_u32, 1..60_u32, 900..1000_u32], 1..40),
            start in any::<usize>()
        ) {
            let total: u32 = weights.iter().sum();
            // Exact, since all fit into a cycle. After that twice as many, to wrap around.
            let balancer = balancer(&weights, start.min(usize::MAX / 2));
            let picks = picks(&balancer, 3 * total as usize);
            let mut counts = vec![0; weights.len()];
            for pick in &picks[..total as usize] {
                counts[*pick] += 1;
            }
            prop_assert_eq!(&counts, &weights);
            no_window_has_more_than_the_share_and_three(&weights, &picks);
        }
    }

    #[test]
    fn weights_that_fit_no_cycle_keep_their_shares_too() {
        let heavy = [4_000_000_000, 3_999_999_979];
        let heavy_and_light: Vec<u32> = heavy.into_iter().chain(1..300).collect();
        let mixed = (0..300).map(|n| 9_999_991 + n * n * 7919).collect();
        for weights in [heavy_and_light, mixed] {
            let picks = picks(&balancer(&weights, 65_000), 140_000);
            no_window_has_more_than_the_share_and_three(&weights, &picks);
        }
    }

    #[test]
    fn a_change_of_weights_acts_at_once() {
        let balancer = balancer(&[1, 1], 0);
        assert_eq!(picks(&balancer, 4), [0, 1, 0, 1]);
        balancer.source().set(endpoints(&[3, 1]));
        assert_eq!(picks(&balancer, 8).iter().sum::<usize>(), 2);
        let mut slow = endpoints(&[1, 1]);
        slow[0] = slow[0].with_weight_factor(0.25);
        balancer.source().set(slow);
        assert_eq!(picks(&balancer, 10).iter().sum::<usize>(), 8);
        balancer.source().set([]);
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Empty)));
    }

    #[test]
    fn threads_together_give_everyone_its_share() {
        let weights = [3, 2, 1, 1, 1];
        let balancer = Weighted::new(FixedEndpointer::new(endpoints(&weights)));
        let all = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| picks(&balancer, 400)))
                .collect();
            let mut all = HashMap::new();
            for pick in threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
            {
                *all.entry(pick).or_insert(0_u32) += 1;
            }
            all
        });
        // The turns of each counter are consecutive, so off by less than two each.
        for (n, weight) in weights.into_iter().enumerate() {
            assert!(all[&n].abs_diff(200 * weight) <= 8, "{all:?}");
        }
    }

    #[test]
    fn the_untried_come_first() {
        let weights: Vec<_> = (0..100).map(|n| if n == 99 { 1 } else { 1000 }).collect();
        let balancer = balancer(&weights, 0);
        let tried: Vec<_> = balancer
            .source()
            .endpoints()
            .iter()
            .map(|one| one.instance().clone())
            .collect();
        for _ in 0..200 {
            let context = PickContext::new().with_tried(&tried[..99]);
            assert_eq!(*balancer.pick(&context).unwrap().target(), 99);
        }
        let all = PickContext::new().with_tried(&tried);
        assert!(balancer.pick(&all).is_ok());
    }

    #[test]
    fn no_endpoints_is_an_error_that_says_why() {
        let balancer = Weighted::new(FixedEndpointer::<()>::unknown());
        assert!(matches!(balancer.endpoint(), Err(NoEndpoints::Unknown)));
    }
}
