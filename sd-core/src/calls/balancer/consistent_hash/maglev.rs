//! Maglev: a table from hashes to endpoints that changes little when the endpoints change.

use super::free_slots::{FreeSlots, Preferences};

/// An endpoint for each slot of a table (Eisenbud et al. 2016, "Maglev: a fast and reliable
/// software network load balancer", section 3.4).
///
/// The hash of an endpoint gives the order in which it prefers the slots. The endpoints take turns,
/// as often as their weights say. At its turn an endpoint takes the slot that it prefers of those
/// that are free. If an endpoint goes, others take its slots, and most of the rest stays as it is.
pub(super) struct Maglev {
    slots: Box<[u32]>,
}

/// What decides which slots an endpoint gets.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    /// The hash of its identity.
    pub(super) hash: u64,
    /// At least 1, and less than 2^62.
    pub(super) weight: u64,
}

impl Maglev {
    /// A table with `size` slots. The order of the candidates does not matter, as long as no two
    /// have the same hash.
    pub(super) fn new(size: u32, candidates: &[Candidate]) -> Self {
        if candidates.is_empty() {
            let slots = Box::default();
            return Self { slots };
        }
        let turn_weight = turn_weight(candidates);
        let mut owners: Vec<_> = (0..).zip(candidates).collect();
        owners.sort_by_key(|(_, candidate)| candidate.hash);
        let mut owners: Vec<_> = owners
            .into_iter()
            .map(|(owner, candidate)| {
                let preferences = Preferences::new(candidate.hash, size);
                (owner, candidate.weight, turn_weight / 2, preferences)
            })
            .collect();
        let mut slots = vec![0; size as usize];
        let mut free = FreeSlots::new(size);
        loop {
            for (owner, weight, credit, preferences) in &mut owners {
                *credit += *weight;
                while *credit >= turn_weight {
                    *credit -= turn_weight;
                    let Some(slot) = free.take(preferences) else {
                        let slots = slots.into();
                        return Self { slots };
                    };
                    slots[slot as usize] = *owner;
                }
            }
        }
    }

    /// The slot of a hash. The table must not be empty.
    #[inline]
    pub(super) fn slot(&self, hash: u64) -> usize {
        // A multiplication is quicker than a remainder, and as even for hashes of 64 bits.
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    /// The candidate that owns `slot`.
    pub(super) fn owner(&self, slot: usize) -> usize {
        self.slots[slot] as usize
    }

    /// The candidates that own `slot` and those after it, around the table.
    #[inline]
    pub(super) fn owners_from(&self, slot: usize) -> impl Iterator<Item = usize> {
        let (before, after) = self.slots.split_at(slot);
        after.iter().chain(before).map(|owner| *owner as usize)
    }
}

/// The weight that has one turn in each round: about the mean, so that a round is not much longer
/// than the number of candidates. A power of two, since that is mostly the same one after a change;
/// otherwise the candidates would take turns in another order.
fn turn_weight(candidates: &[Candidate]) -> u64 {
    let total: u128 = candidates.iter().map(|one| u128::from(one.weight)).sum();
    let mean = (total / candidates.len() as u128) as u64;
    mean.next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    const SIZE: u32 = 65_537;

    /// As many candidates, whose hashes differ with `seed`.
    fn candidates(seed: u64, count: usize, weight: fn(u64) -> u64) -> Vec<Candidate> {
        let candidate = |n: u64| Candidate {
            hash: xxh3_64(&(seed << 32 | n).to_le_bytes()),
            weight: weight(n),
        };
        (0..count as u64).map(candidate).collect()
    }

    /// The hash of the candidate that owns each slot.
    fn owners(candidates: &[Candidate]) -> Vec<u64> {
        let slots = Maglev::new(SIZE, candidates).slots;
        let owner = |owner: &u32| candidates[*owner as usize].hash;
        slots.iter().map(owner).collect()
    }

    /// The part of all hashes that moves from an owner to another one.
    fn moved(one: &[u64], other: &[u64]) -> f64 {
        let moved = one.iter().zip(other).filter(|(one, other)| one != other);
        moved.count() as f64 / one.len() as f64
    }

    fn share(candidate: usize, candidates: &[Candidate]) -> f64 {
        let total: u64 = candidates.iter().map(|one| one.weight).sum();
        candidates[candidate].weight as f64 / total as f64
    }

    const EQUAL: fn(u64) -> u64 = |_| 1000;
    const ONE_TO_TEN: fn(u64) -> u64 = |n| 1000 + n * 7919 % 9001;
    const SIZES: [usize; 8] = [2, 3, 10, 20, 100, 300, 500, 1000];

    #[test]
    fn adding_or_removing_one_of_n_moves_one_nth_and_two_percent_at_most() {
        for weight in [EQUAL, ONE_TO_TEN] {
            for n in SIZES {
                let all = candidates(n as u64, n, weight);
                for gone in [0, n / 2] {
                    let mut rest = all.clone();
                    rest.remove(gone);
                    let moved = moved(&owners(&all), &owners(&rest));
                    let must = share(gone, &all);
                    assert!(moved > must - 0.001 && moved < must + 0.02, "{n} {moved}");
                }
            }
        }
    }

    #[test]
    fn another_weight_moves_the_difference_and_two_percent_at_most() {
        for n in SIZES {
            let before = candidates(n as u64, n, ONE_TO_TEN);
            for percent in [10, 90, 200] {
                let mut after = before.clone();
                after[n / 2].weight = after[n / 2].weight * percent / 100;
                let moved = moved(&owners(&before), &owners(&after));
                let must = (share(n / 2, &before) - share(n / 2, &after)).abs();
                assert!(moved < must + 0.02, "{n} {percent} {moved}");
            }
        }
    }

    #[test]
    fn each_has_its_share_of_the_slots_to_about_one() {
        for (weight, off_by) in [(EQUAL, 1.0), (ONE_TO_TEN, 2.0)] {
            for n in SIZES {
                let all = candidates(n as u64, n, weight);
                let slots = Maglev::new(SIZE, &all).slots;
                let mut counts = vec![0; n];
                for owner in slots {
                    counts[owner as usize] += 1;
                }
                for (candidate, count) in counts.into_iter().enumerate() {
                    let share = f64::from(SIZE) * share(candidate, &all);
                    assert!(
                        (f64::from(count) - share).abs() < off_by,
                        "{n} {count} {share}"
                    );
                }
            }
        }
    }

    #[test]
    fn one_heavy_candidate_gets_its_share_and_so_do_the_light_ones() {
        let mut all = candidates(1, 100, EQUAL);
        all[7].weight = 1_000_000;
        let owners = owners(&all);
        let count = |of: usize| {
            owners
                .iter()
                .filter(|owner| **owner == all[of].hash)
                .count()
        };
        // 59,633 and 59.6
        assert!((59_400..59_800).contains(&count(7)), "{}", count(7));
        assert!((55..65).contains(&count(8)), "{}", count(8));
    }

    #[test]
    fn a_share_of_more_than_half_a_slot_is_a_slot() {
        let weights = |light| {
            let mut all = candidates(1, 10, EQUAL);
            all[0].weight = 251_000;
            all.iter_mut().skip(1).for_each(|one| one.weight = light);
            all
        };
        for (light, slots) in [(700, 1), (300, 0)] {
            let maglev = Maglev::new(251, &weights(light));
            for candidate in 1..10 {
                let owned = maglev.owners_from(0).filter(|owner| *owner == candidate);
                assert_eq!(owned.count(), slots, "{light}");
            }
        }
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter() {
        let mut all = candidates(1, 50, ONE_TO_TEN);
        let one = owners(&all);
        all.reverse();
        assert!(one == owners(&all));
    }

    #[test]
    fn every_slot_is_reached_by_a_hash_and_followed_by_all() {
        let maglev = Maglev::new(251, &candidates(1, 3, EQUAL));
        assert_eq!((maglev.slot(0), maglev.slot(u64::MAX)), (0, 250));
        assert_eq!(maglev.slot(u64::MAX / 251 * 7 + 251), 7);
        let along: Vec<_> = maglev.owners_from(249).collect();
        let slots = maglev.slots.iter().map(|owner| *owner as usize);
        let around: Vec<_> = slots.clone().skip(249).chain(slots.take(249)).collect();
        assert_eq!(along, around);
        assert_eq!(maglev.owner(249), along[0]);
    }
}
