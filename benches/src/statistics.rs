//! Medians and quantiles.

/// The value that the fraction `quantile` of `values` does not exceed: the nearest rank. NaN if
/// there are none.
pub(crate) fn quantile(values: &mut [f64], quantile: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let rank = (values.len() as f64 * quantile).ceil() as usize;
    let (_, value, _) = values.select_nth_unstable_by(rank.max(1) - 1, f64::total_cmp);
    *value
}

/// A median, and how far apart the values around it are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Median {
    pub(crate) value: f64,
    /// Half of the distance between the quartiles: half of the values are about as close to the
    /// median as this.
    pub(crate) spread: f64,
}

impl Median {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        let [lower, value, upper] = [0.25, 0.5, 0.75].map(|rank| quantile(&mut values, rank));
        Self {
            value,
            spread: (upper - lower) / 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let mut values: Vec<_> = (1..=100).rev().map(f64::from).collect();
        let ranks = [0.0, 0.01, 0.5, 0.501, 0.99, 0.999, 1.0];
        let found = ranks.map(|rank| quantile(&mut values, rank));
        assert_eq!(found, [1.0, 1.0, 50.0, 51.0, 99.0, 100.0, 100.0]);
        assert!(quantile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn a_spread_ignores_the_outliers() {
        let median = Median::of([10.0, 11.0, 12.0, 13.0, 1000.0]);
        let (value, spread) = (12.0, 1.0);
        assert_eq!(median, Median { value, spread });
    }
}
