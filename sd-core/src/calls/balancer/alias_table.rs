//! The alias table: draws by weight in constant time.

use crate::calls::endpoint::Endpoint;
use std::sync::Arc;

/// Draws a number below `n`, each with a probability in proportion to its weight. A draw takes one
/// random word and looks at one column, however many there are.
///
/// The alias method: n columns of the same height, each shared by at most two numbers. Walker 1977,
/// "An Efficient Method for Generating Discrete Random Variables with General Distributions"; built
/// as in Vose 1991, "A Linear Algorithm for Generating Random Numbers with a Given Distribution",
/// but with integers, so that nothing is lost to rounding before the end: no probability is off by
/// more than 2^-31.
#[derive(Debug)]
pub(super) struct AliasTable {
    len: u64,
    /// Empty if all weights are the same.
    columns: Box<[Column]>,
}

/// A column belongs to its own number up to a height, and to another one above it.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// In parts of 2^32, at least one: every number can be drawn.
    height: u32,
    above: u32,
}

impl AliasTable {
    /// A table of the [effective weights](Endpoint::effective_weight) of `endpoints`.
    pub(super) fn of<E>(endpoints: &[Arc<Endpoint<E>>]) -> Self {
        let weights = endpoints.iter().map(|one| one.effective_weight());
        Self::new(&weights.collect::<Vec<_>>())
    }

    /// `weights` are above zero.
    fn new(weights: &[u64]) -> Self {
        let len = weights.len() as u64;
        let is_uniform = weights.iter().all(|weight| *weight == weights[0]);
        let columns = if is_uniform {
            Box::default()
        } else {
            columns(weights)
        };
        Self { len, columns }
    }

    /// The number that the random `word` stands for. The table must not be empty.
    #[inline]
    pub(super) fn draw(&self, word: u64) -> usize {
        // The word as a fraction, times the number of columns: the column, and the place in it.
        let place = u128::from(word) * u128::from(self.len);
        let own = (place >> 64) as usize;
        let height = (place >> 32) as u32;
        match self.columns.get(own) {
            Some(column) if height >= column.height => column.above as usize,
            _ => own,
        }
    }
}

fn columns(weights: &[u64]) -> Box<[Column]> {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    // In units in which a column is `total` high, and all columns together are `n * total`.
    let mut rest: Vec<u128> = weights
        .iter()
        .map(|weight| u128::from(*weight) * weights.len() as u128)
        .collect();
    let mut columns: Box<[Column]> = (0..weights.len() as u32)
        .map(|own| Column {
            height: u32::MAX,
            above: own,
        })
        .collect();
    let (mut low, mut high): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|number| rest[*number] < total);
    // As long as one is too low, another one is too high, and fills the column of the first.
    while let (Some(lower), Some(&higher)) = (low.pop(), high.last()) {
        columns[lower] = Column {
            height: (((rest[lower] << 32) / total) as u32).max(1),
            above: higher as u32,
        };
        rest[higher] -= total - rest[lower];
        if rest[higher] < total {
            high.pop();
            low.push(higher);
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The probability of each number, as the table has it.
    fn probabilities(table: &AliasTable, n: usize) -> Vec<f64> {
        let mut found = vec![0.0; n];
        for (own, column) in table.columns.iter().enumerate() {
            let height = f64::from(column.height) / 2_f64.powi(32);
            found[own] += height / n as f64;
            found[column.above as usize] += (1.0 - height) / n as f64;
        }
        found
    }

    #[test]
    fn equal_weights_need_no_columns() {
        let table = AliasTable::new(&[7; 3]);
        assert!(table.columns.is_empty());
        let thirds = [0, u64::MAX / 3, u64::MAX / 3 + 1, u64::MAX];
        assert_eq!(thirds.map(|word| table.draw(word)), [0, 0, 1, 2]);
    }

    #[test]
    fn draws_follow_the_weights() {
        fastrand::seed(23);
        const DRAWS: u32 = 100_000;
        let weights = [1, 2, 3, 4, 90];
        let table = AliasTable::new(&weights);
        let mut counts = [0_u32; 5];
        (0..DRAWS).for_each(|_| counts[table.draw(fastrand::u64(..))] += 1);
        for (count, weight) in counts.into_iter().zip(weights) {
            let share = weight as f64 / 100.0;
            // Six standard deviations of the binomial distribution.
            let bound = 6.0 * (f64::from(DRAWS) * share * (1.0 - share)).sqrt();
            let off = (f64::from(count) - f64::from(DRAWS) * share).abs();
            assert!(off <= bound, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn the_table_has_each_share_and_everyone_can_be_drawn(
            weights in prop::collection::vec(
                prop_oneof![1_u64..10, Just(1000), 1_u64..=u64::from(u32::MAX) * 1000],
                1..200,
            ),
        ) {
            let table = AliasTable::new(&weights);
            prop_assume!(!table.columns.is_empty());
            let n = weights.len();
            let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            let found = probabilities(&table, n);
            for (found, weight) in found.into_iter().zip(&weights) {
                let share = *weight as f64 / total as f64;
                // Each column that has a part of it is rounded to 2^-32 of a column.
                prop_assert!((found - share).abs() <= 2_f64.powi(-31), "{found} {share}");
            }
            for (number, column) in table.columns.iter().enumerate() {
                prop_assert!(column.height > 0);
                // The lowest word of the column.
                let word = ((number as u128) << 64).div_ceil(n as u128) as u64;
                prop_assert_eq!(table.draw(word), number);
            }
        }
    }
}
