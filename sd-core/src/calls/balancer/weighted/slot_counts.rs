//! Weights as numbers of slots.

use std::cmp::Reverse;

/// How many slots of a cycle each endpoint gets: its exact share of the shortest cycle in which all
/// shares are whole, if that has at most `most` slots. Otherwise its share of `most` slots, rounded
/// down or up (by largest remainders), and one slot at least. If many endpoints get that one slot
/// for less than one slot's weight, the cycle has up to as many slots more.
///
/// `weights` are at least 1.
pub(super) fn slot_counts(weights: &[u64], most: usize) -> Vec<u32> {
    let unit = weights.iter().copied().fold(0, greatest_common_divisor);
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if total <= most as u128 * u128::from(unit) {
        return weights
            .iter()
            .map(|weight| (weight / unit) as u32)
            .collect();
    }
    let mut remainders = Vec::new();
    let mut counts = Vec::with_capacity(weights.len());
    for (endpoint, weight) in weights.iter().enumerate() {
        let share = u128::from(*weight) * most as u128;
        let whole = (share / total) as u32;
        if whole > 0 {
            remainders.push(Reverse((share % total, Reverse(endpoint))));
        }
        counts.push(whole.max(1));
    }
    let given: usize = counts.iter().map(|count| *count as usize).sum();
    let left = most.saturating_sub(given);
    // What is left is the sum of the remainders, at most: less than one for each of these.
    if 0 < left && left < remainders.len() {
        remainders.select_nth_unstable(left);
    }
    for Reverse((_, Reverse(endpoint))) in remainders.into_iter().take(left) {
        counts[endpoint] += 1;
    }
    counts
}

fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    #[test]
    fn shares_are_exact_where_they_fit() {
        assert_eq!(slot_counts(&[3000, 1000, 500], 9), [6, 2, 1]);
        assert_eq!(slot_counts(&[u64::MAX, u64::MAX], 2), [1, 1]);
    }

    #[test]
    fn shares_that_do_not_fit_are_rounded_to_the_nearest_that_fill_the_cycle() {
        // 2.67, 2.67, 2.67; the first come first.
        assert_eq!(slot_counts(&[2001, 2000, 1999], 8), [3, 3, 2]);
        // 7.98, 0.01, 0.01
        assert_eq!(slot_counts(&[998, 1, 1], 8), [7, 1, 1]);
    }

    proptest! {
        #[test]
        fn every_share_is_rounded_down_or_up_and_one_at_least(
            weights in vec(prop_oneof![1..20_u64, 1..1_000_000_u64, 1..=u64::MAX], 1..50),
            more in 0..200_usize
        ) {
            let most = weights.len() + more;
            let counts = slot_counts(&weights, most);
            let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            let slots: usize = counts.iter().map(|count| *count as usize).sum();
            prop_assert!(slots < most + weights.len());
            for (weight, count) in weights.iter().zip(&counts) {
                let (weight, count) = (u128::from(*weight), u128::from(*count));
                let (weighted, whole) = (weight * most as u128, total * count);
                if slots >= most {
                    prop_assert!(whole < weighted + total && (weighted < whole + total || count == 1));
                } else {
                    prop_assert_eq!(weight * slots as u128, whole, "exact");
                }
            }
        }
    }
}
