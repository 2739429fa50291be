//! The order in which endpoints of different weights take turns.

use super::{slot_counts::slot_counts, slot_set::SlotSet};

/// The endpoint of each slot of a cycle. Each endpoint has slots in proportion to its weight, as
/// evenly spaced as the others allow: after any number of slots from the start of the cycle, the
/// number of its turns is its exact share of them, rounded down or up.
///
/// This is the chairman assignment problem (Tijdeman 1980), and a special case of proportionate
/// progress (Baruah, Cohen, Plaxton, Varvel 1996). In a cycle of `l` slots, the turn `k` (from 0)
/// of an endpoint with `c` slots is released at slot `floor(k l / c)` and has to be over by slot
/// `ceil((k + 1) l / c)`. The turns fill the cycle exactly and can all be in time, so taking the
/// earliest deadline first schedules them.
pub(super) struct Schedule {
    /// Empty if all weights are equal: every endpoint then has one slot, in order.
    slots: Box<[u32]>,
}

/// The number of slots up to which shares are exact.
const EXACT: usize = 65_536;

impl Schedule {
    /// A schedule for endpoints of these weights, none of which is 0.
    pub(super) fn new(weights: &[u64]) -> Self {
        if weights.iter().all(|weight| *weight == weights[0]) {
            let slots = Box::default();
            return Self { slots };
        }
        // Four slots for each endpoint at least, so that rounding shares to slots adds less than
        // one turn to a window of twice as many turns as there are endpoints.
        let most = EXACT.max(4 * weights.len());
        let slots = earliest_deadline_first(&slot_counts(weights, most));
        Self { slots }
    }

    /// How many turns a cycle of so many endpoints has.
    #[inline]
    pub(super) fn cycle(&self, endpoints: usize) -> usize {
        if self.slots.is_empty() {
            endpoints
        } else {
            self.slots.len()
        }
    }

    /// The index of the endpoint whose turn it is, at a turn of the cycle.
    #[inline]
    pub(super) fn endpoint_at(&self, turn: usize) -> usize {
        self.slots.get(turn).map_or(turn, |slot| *slot as usize)
    }
}

/// The endpoint of each slot, if each has this many slots, one at least. Takes time in proportion to
/// the number of slots.
fn earliest_deadline_first(counts: &[u32]) -> Box<[u32]> {
    let length: u32 = counts.iter().sum();
    let mut turns = vec![Turn::default(); counts.len()];
    // The endpoints whose next turn is not released yet, by its release, and the others, by the
    // deadline of their next turn. No endpoint needs more than its next turn in here, since of two
    // of its turns the earlier one has the earlier deadline.
    let mut waiting = vec![NONE; length as usize];
    let mut released = vec![NONE; length as usize + 1];
    let mut deadlines = SlotSet::new(released.len());
    // The next endpoint in the list that an endpoint is in.
    let mut links = vec![NONE; counts.len()];
    for endpoint in 0..counts.len() as u32 {
        push(&mut waiting[0], &mut links, endpoint);
    }
    let mut slots = Vec::with_capacity(length as usize);
    for slot in 0..length {
        while let Some(endpoint) = pop(&mut waiting[slot as usize], &mut links) {
            let turn = &mut turns[endpoint as usize];
            turn.advance(length, counts[endpoint as usize]);
            push(&mut released[turn.deadline()], &mut links, endpoint);
            deadlines.insert(turn.deadline());
        }
        let deadline = deadlines.first();
        let Some(endpoint) = pop(&mut released[deadline], &mut links) else {
            unreachable!("a deadline of no turn")
        };
        if released[deadline] == NONE {
            deadlines.remove(deadline);
        }
        slots.push(endpoint);
        // The release of its next turn, or the end of the cycle after its last one.
        let release = turns[endpoint as usize].whole.max(slot + 1);
        if release < length {
            push(&mut waiting[release as usize], &mut links, endpoint);
        }
    }
    slots.into()
}

/// Where the turn of an endpoint with `c` slots ends: at slot `whole + rest / c`.
#[derive(Clone, Default)]
struct Turn {
    whole: u32,
    rest: u32,
}

impl Turn {
    /// To the next turn, in a cycle of `length` slots.
    fn advance(&mut self, length: u32, count: u32) {
        self.whole += length / count;
        self.rest += length % count;
        if self.rest >= count {
            self.rest -= count;
            self.whole += 1;
        }
    }

    fn deadline(&self) -> usize {
        self.whole as usize + usize::from(self.rest > 0)
    }
}

/// Ends a list.
const NONE: u32 = u32::MAX;

fn push(first: &mut u32, links: &mut [u32], endpoint: u32) {
    links[endpoint as usize] = *first;
    *first = endpoint;
}

fn pop(first: &mut u32, links: &mut [u32]) -> Option<u32> {
    let endpoint = *first;
    *first = *links.get(endpoint as usize)?;
    Some(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn order(counts: &[u32]) -> String {
        let slots = earliest_deadline_first(counts);
        slots
            .iter()
            .map(|slot| char::from(b'a' + *slot as u8))
            .collect()
    }

    #[test]
    fn turns_are_spread_over_the_cycle() {
        assert_eq!(order(&[5, 1, 1]), "aaabaac");
        assert_eq!(order(&[1, 3]), "bbba");
        assert_eq!(order(&[2, 2, 4]), "cacbcacb");
        assert_eq!(order(&[3, 1, 1, 1, 1, 1, 1, 1, 1, 1]), "abcdaefgahij");
    }

    #[test]
    fn equal_weights_need_no_schedule() {
        let schedule = Schedule::new(&[3000; 5]);
        assert!(schedule.slots.is_empty());
        let turns: Vec<_> = (0..7)
            .map(|turn| schedule.endpoint_at(turn % schedule.cycle(5)))
            .collect();
        assert_eq!(turns, [0, 1, 2, 3, 4, 0, 1]);
        assert!(Schedule::new(&[]).slots.is_empty());
    }

    #[test]
    fn many_endpoints_have_four_slots_each_at_least() {
        let weights: Vec<_> = (1..=20_000).map(|n| n * n).collect();
        assert_eq!(Schedule::new(&weights).slots.len(), 80_000);
    }

    proptest! {
        /// The theorem, for any numbers of slots.
        #[test]
        fn every_prefix_has_everyones_share_rounded_down_or_up(
            counts in vec(prop_oneof![1..4_u32, 1..300_u32], 1..30)
        ) {
            let slots = earliest_deadline_first(&counts);
            let length = slots.len() as u64;
            prop_assert_eq!(length, counts.iter().map(|count| u64::from(*count)).sum::<u64>());
            let mut turns = vec![0_u64; counts.len()];
            for (slot, endpoint) in (1..).zip(&slots) {
                turns[*endpoint as usize] += 1;
                for (turns, count) in turns.iter().zip(&counts) {
                    let share = slot * u64::from(*count);
                    prop_assert!(share / length <= *turns && *turns <= share.div_ceil(length));
                }
            }
        }
    }
}
