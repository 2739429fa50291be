//! Rendezvous hashing: each client chooses endpoints of its own.

use crate::calls::endpoint::Endpoint;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Ranks endpoints by the hash of their keys and the id of a client ([Thaler and Ravishankar, Using
/// name-based mappings to increase hit rates](https://doi.org/10.1109/90.663936), 1998). The ranks
/// of an endpoint at different clients are independent. An endpoint that comes or goes changes the
/// order of no others, so that the first few change by one at most.
///
/// The hash is the same in every process and in later versions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rendezvous {
    /// The hash of the client's id.
    seed: u64,
}

impl Rendezvous {
    /// The ranking of a client without an id: another one in each process, and for each call.
    pub(super) fn random() -> Self {
        Self {
            seed: fastrand::u64(..),
        }
    }

    /// The ranking of the client with this id.
    pub(super) fn of(client_id: &[u8]) -> Self {
        Self {
            seed: xxh3_64(client_id),
        }
    }

    /// A number between 0 and 1, without 1, that differs between clients and is the same each time.
    /// Numbers for different purposes are independent.
    pub(super) fn fraction(self, purpose: &str) -> f64 {
        const PRECISION: u32 = f64::MANTISSA_DIGITS;
        let hash = xxh3_64_with_seed(purpose.as_bytes(), self.seed);
        (hash >> (u64::BITS - PRECISION)) as f64 / (1_u64 << PRECISION) as f64
    }

    /// Keeps the `number` endpoints that rank first, in the order in which they are.
    pub(super) fn retain_first<E>(self, endpoints: &mut Vec<Arc<Endpoint<E>>>, number: usize) {
        if number >= endpoints.len() {
            return;
        }
        let rank = |endpoint: &Arc<Endpoint<E>>| {
            xxh3_64_with_seed(endpoint.identity().as_ref().as_bytes(), self.seed)
        };
        let ranks: Vec<u64> = endpoints.iter().map(rank).collect();
        let mut order: Vec<usize> = (0..endpoints.len()).collect();
        order.select_nth_unstable_by_key(number, |n| (ranks[*n], *n));
        let mut is_first = vec![false; endpoints.len()];
        for n in &order[..number] {
            is_first[*n] = true;
        }
        let mut is_first = is_first.into_iter();
        endpoints.retain(|_| is_first.next().unwrap_or(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{instances::Instance, registry::Key};

    fn endpoints(number: usize) -> Vec<Arc<Endpoint<usize>>> {
        let endpoint = |n| {
            let key = Key::new(format!("/services/hello/{n:04}")).unwrap();
            Arc::new(Endpoint::new(Instance::new(key, "h:1"), n))
        };
        (0..number).map(endpoint).collect()
    }

    fn first(client: usize, number: usize, endpoints: &[Arc<Endpoint<usize>>]) -> Vec<usize> {
        let mut chosen = endpoints.to_vec();
        Rendezvous::of(format!("client-{client}").as_bytes()).retain_first(&mut chosen, number);
        assert!(chosen.is_sorted_by_key(|one| one.key().clone()));
        chosen.iter().map(|one| *one.target()).collect()
    }

    /// Whether `count` of `trials` is within 6 standard deviations of a probability: by chance, one
    /// in a billion is not.
    fn is_likely(count: usize, trials: usize, probability: f64) -> bool {
        let mean = trials as f64 * probability;
        let deviation = (mean * (1.0 - probability)).sqrt();
        (count as f64 - mean).abs() <= 6.0 * deviation
    }

    #[test]
    fn every_endpoint_and_every_pair_is_chosen_by_as_many_clients() {
        const CLIENTS: usize = 20_000;
        let endpoints = endpoints(12);
        let (mut chosen, mut together) = ([0; 12], [[0; 12]; 12]);
        for client in 0..CLIENTS {
            let first = first(client, 3, &endpoints);
            assert_eq!(first.len(), 3);
            for (position, one) in first.iter().enumerate() {
                chosen[*one] += 1;
                for other in &first[position + 1..] {
                    together[*one][*other] += 1;
                }
            }
        }
        let share = 3.0 / 12.0;
        assert!(
            chosen.iter().all(|count| is_likely(*count, CLIENTS, share)),
            "{chosen:?}"
        );
        let share = (3.0 * 2.0) / (12.0 * 11.0);
        for (one, counts) in together.iter().enumerate() {
            for (other, count) in counts.iter().enumerate().skip(one + 1) {
                assert!(
                    is_likely(*count, CLIENTS, share),
                    "{one} and {other}: {count}"
                );
            }
        }
    }

    #[test]
    fn one_endpoint_more_or_less_moves_one() {
        let all = endpoints(40);
        let mut moved = 0;
        for client in 0..200 {
            let before = first(client, 10, &all[..39]);
            let after = first(client, 10, &all);
            let kept = before.iter().filter(|one| after.contains(one)).count();
            assert!(kept >= 9, "{before:?}, {after:?}");
            assert!(kept == 10 || after.contains(&39), "{before:?}, {after:?}");
            moved += 10 - kept;
        }
        assert!(is_likely(moved, 200, 10.0 / 40.0), "{moved}");
    }

    #[test]
    fn the_choice_of_a_client_is_the_same_in_every_process_and_version() {
        assert_eq!(first(1, 4, &endpoints(20)), [2, 4, 7, 10]);
    }

    #[test]
    fn fractions_are_even_and_independent() {
        const CLIENTS: usize = 10_000;
        let mut counts = [[0; 4]; 4];
        for client in 0..CLIENTS {
            let client = Rendezvous::of(format!("client-{client}").as_bytes());
            let quarter = |purpose| {
                let fraction = client.fraction(purpose);
                assert!((0.0..1.0).contains(&fraction));
                (fraction * 4.0) as usize
            };
            counts[quarter("one")][quarter("other")] += 1;
        }
        let counts = counts.concat();
        let share = 1.0 / 16.0;
        assert!(
            counts.iter().all(|count| is_likely(*count, CLIENTS, share)),
            "{counts:?}"
        );
    }

    #[test]
    fn fewer_than_asked_for_are_all_kept() {
        assert_eq!(first(1, 5, &endpoints(3)), [0, 1, 2]);
        assert_eq!(first(1, 3, &endpoints(3)), [0, 1, 2]);
        assert!(first(1, 0, &endpoints(3)).is_empty());
    }
}
