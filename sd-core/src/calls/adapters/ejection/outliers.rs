//! Which endpoints are outliers, by the calls of one sweep interval.

use super::{
    call_counts::EndedCalls,
    options::{FailurePercentageEjection, SuccessRateEjection},
    status::EjectionReason,
};

/// An endpoint with fewer failures than this in a sweep interval is no outlier by its success rate.
/// Where all others are without any failure, a single one would be enough otherwise.
pub(super) const FEWEST_FAILURES: u64 = 5;

/// An outlier: its index among the samples, and why it is one.
pub(super) type Outlier = (usize, EjectionReason);

/// Those whose success rate is lower than that of the others by more than chance, the worst first.
pub(super) fn by_success_rate(samples: &[EndedCalls], rule: &SuccessRateEjection) -> Vec<Outlier> {
    let rates = sampled(samples, rule.request_volume, |calls| {
        calls.successes as f64 / calls.all() as f64
    });
    if rates.len() < rule.minimum_hosts.max(1) {
        return Vec::new();
    }
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / rates.len() as f64;
    let average = mean(&mut rates.iter().map(|(_, rate)| *rate));
    let variance = mean(&mut rates.iter().map(|(_, rate)| (rate - average).powi(2)));
    let least = average - rule.stdev_factor * variance.sqrt();
    let mut low = rates;
    low.retain(|(index, rate)| {
        let calls = samples[*index];
        *rate < least && calls.failures + calls.overloads >= FEWEST_FAILURES
    });
    low.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    low.into_iter()
        .map(|(index, rate)| {
            let reason = EjectionReason::SuccessRate {
                percent: 100.0 * rate,
                threshold: 100.0 * least,
            };
            (index, reason)
        })
        .collect()
}

/// Those of whose calls too large a part has failed, the worst first.
pub(super) fn by_failure_percentage(
    samples: &[EndedCalls],
    rule: &FailurePercentageEjection,
) -> Vec<Outlier> {
    let mut percentages = sampled(samples, rule.request_volume, |calls| {
        100.0 * calls.failures as f64 / calls.all() as f64
    });
    if percentages.len() < rule.minimum_hosts {
        return Vec::new();
    }
    percentages.retain(|(_, percent)| *percent >= f64::from(rule.threshold));
    percentages.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    percentages
        .into_iter()
        .map(|(index, percent)| (index, EjectionReason::FailurePercentage { percent }))
        .collect()
}

/// The indexes of those with enough calls, with what `measure` makes of them.
fn sampled(
    samples: &[EndedCalls],
    request_volume: u64,
    measure: impl Fn(EndedCalls) -> f64,
) -> Vec<(usize, f64)> {
    let enough = samples
        .iter()
        .enumerate()
        .filter(|(_, calls)| calls.all() >= request_volume.max(1));
    enough
        .map(|(index, calls)| (index, measure(*calls)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(successes: u64, failures: u64) -> EndedCalls {
        EndedCalls {
            successes,
            failures,
            overloads: 0,
        }
    }

    fn indexes(outliers: Vec<Outlier>) -> Vec<usize> {
        outliers.into_iter().map(|(index, _)| index).collect()
    }

    fn by_rate(samples: &[EndedCalls]) -> Vec<usize> {
        indexes(by_success_rate(samples, &SuccessRateEjection::default()))
    }

    fn by_percentage(samples: &[EndedCalls]) -> Vec<usize> {
        let rule = FailurePercentageEjection::default();
        indexes(by_failure_percentage(samples, &rule))
    }

    #[test]
    fn the_success_rate_is_compared_with_that_of_the_others() {
        // One bad of five is 2 standard deviations below the mean.
        let mut samples = [calls(1000, 0); 5];
        samples[3] = calls(900, 100);
        assert_eq!(by_rate(&samples), [3]);
        // Two bad of five are 1.2 below it.
        samples[1] = samples[3];
        assert_eq!(by_rate(&samples), [0; 0]);
        assert_eq!(by_rate(&[calls(500, 500); 5]), [0; 0], "all are alike");
    }

    #[test]
    fn the_worst_comes_first() {
        let mut samples = [calls(1000, 0); 20];
        samples[2] = calls(600, 400);
        samples[7] = calls(500, 500);
        assert_eq!(by_rate(&samples), [7, 2]);
        let mut samples = [calls(100, 0); 5];
        samples[1] = calls(10, 90);
        samples[4] = calls(0, 100);
        assert_eq!(by_percentage(&samples), [4, 1]);
    }

    #[test]
    fn a_few_failures_are_no_reason() {
        let mut samples = [calls(1000, 0); 5];
        samples[0] = calls(996, 4);
        assert_eq!(by_rate(&samples), [0; 0]);
        samples[0] = calls(995, 5);
        assert_eq!(by_rate(&samples), [0]);
    }

    #[test]
    fn those_with_few_calls_do_not_count() {
        let mut samples = [calls(100, 0); 6];
        samples[0] = calls(0, 99);
        assert_eq!(by_rate(&samples), [0; 0]);
        assert_eq!(by_percentage(&samples), [0], "50 are enough here");
        samples[0] = calls(0, 49);
        assert_eq!(by_percentage(&samples), [0; 0]);
        // Four with enough calls are too few to compare.
        let mut samples = [calls(100, 0); 5];
        samples[0] = calls(0, 100);
        samples[1] = calls(10, 0);
        assert_eq!(by_rate(&samples), [0; 0]);
        assert_eq!(by_percentage(&samples), [0; 0]);
    }

    #[test]
    fn overloads_count_for_the_success_rate_only() {
        let mut samples = [calls(1000, 0); 5];
        samples[2] = EndedCalls {
            overloads: 1000,
            ..calls(0, 0)
        };
        assert_eq!(by_rate(&samples), [2]);
        assert_eq!(by_percentage(&samples), [0; 0]);
    }

    #[test]
    fn the_percentage_of_failures_has_a_fixed_limit() {
        let mut samples = [calls(16, 84); 5];
        assert_eq!(by_percentage(&samples), [0; 0]);
        samples[0] = calls(15, 85);
        assert_eq!(by_percentage(&samples), [0]);
    }

    #[test]
    fn any_setting_is_harmless() {
        let nothing = SuccessRateEjection {
            stdev_factor: f64::NAN,
            minimum_hosts: 0,
            request_volume: 0,
        };
        assert!(by_success_rate(&[], &nothing).is_empty());
        assert!(by_success_rate(&[calls(0, 0), calls(0, 9)], &nothing).is_empty());
        let nothing = FailurePercentageEjection {
            threshold: 0,
            minimum_hosts: 0,
            request_volume: 0,
        };
        assert!(by_failure_percentage(&[], &nothing).is_empty());
        assert_eq!(by_failure_percentage(&[calls(0, 0)], &nothing), []);
    }
}
