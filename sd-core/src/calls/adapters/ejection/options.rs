//! The options of an ejection.

use super::Ejection;
use crate::calls::{
    adapters::{FOREVER, SHORTEST, panic_threshold::PANIC_PERCENT},
    endpoint_source::EndpointSource,
};
use std::{fmt, time::Duration};

/// The options of an [`Ejection`], see there for an example.
#[must_use = "nothing happens before `build`"]
pub struct EjectionBuilder<S> {
    source: S,
    options: Options,
}

impl<S: EndpointSource> EjectionBuilder<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            options: Options::default(),
        }
    }

    /// Ejects an endpoint at once after so many calls in a row that failed or timed out. `None`
    /// turns that off. Default: 5; 0 counts as 1.
    pub fn consecutive_failures(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.options.consecutive_failures = failures.into().map(|failures| failures.max(1));
        self
    }

    /// How endpoints are compared by their success rates in each sweep. `None` turns that off.
    pub fn success_rate(mut self, rule: impl Into<Option<SuccessRateEjection>>) -> Self {
        self.options.success_rate = rule.into();
        self
    }

    /// Which part of failed calls is too large, in each sweep. `None` turns that off.
    pub fn failure_percentage(
        mut self,
        rule: impl Into<Option<FailurePercentageEjection>>,
    ) -> Self {
        self.options.failure_percentage = rule.into();
        self
    }

    /// The time between two sweeps. Default: 10 s; at least 1 ms.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.options.sweep_interval = interval.clamp(SHORTEST, FOREVER);
        self
    }

    /// For how long an endpoint is ejected: `base` times the number of times that it was ejected,
    /// and not longer than `longest` or `base`, whichever is longer. Default: 30 s, 300 s; at least 1
    /// ms.
    pub fn ejection_time(mut self, base: Duration, longest: Duration) -> Self {
        let base = base.clamp(SHORTEST, FOREVER);
        self.options.ejection_time = base;
        self.options.longest_ejection_time = longest.clamp(base, FOREVER);
        self
    }

    /// How many of all addresses may be ejected at one time. One may always be. Default: 10; more
    /// than 100 counts as 100.
    pub fn max_ejection_percent(mut self, percent: u8) -> Self {
        self.options.max_ejection_percent = percent.min(100);
        self
    }

    /// If fewer than this percentage of all addresses are left, all are used, as if none were
    /// ejected, and the table is [in panic](crate::Endpoints::in_panic). 0 turns that off: if all
    /// are ejected, picks fail with [`NoEndpoints::Unhealthy`](crate::NoEndpoints::Unhealthy).
    /// Default: 50; more than 100 counts as 100.
    pub fn panic_percent(mut self, percent: u8) -> Self {
        self.options.panic_percent = percent.min(100);
        self
    }

    /// Starts the ejection: derives the first table, and spawns its task.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> Ejection<S> {
        Ejection::spawn(self.source, self.options)
    }
}

impl<S> fmt::Debug for EjectionBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EjectionBuilder")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// How endpoints are compared by their success rates, of the calls of one sweep interval. One is
/// ejected if its rate is lower than the mean of all, by more than `stdev_factor` times their
/// standard deviation.
///
/// ```
/// use sd_core::SuccessRateEjection;
///
/// let cautious = SuccessRateEjection { stdev_factor: 3.0, ..Default::default() };
/// assert_eq!(cautious.minimum_hosts, 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuccessRateEjection {
    /// How many standard deviations make an outlier. Default: 1.9. One bad endpoint of five is 2
    /// below the mean, and no endpoint of four can be more than 1.73 below it.
    pub stdev_factor: f64,
    /// With fewer addresses that had enough calls, there is nothing to compare. Default: 5.
    pub minimum_hosts: usize,
    /// How many calls are enough for an address to count. Default: 100.
    pub request_volume: u64,
}

impl Default for SuccessRateEjection {
    fn default() -> Self {
        Self {
            stdev_factor: 1.9,
            minimum_hosts: 5,
            request_volume: 100,
        }
    }
}

/// Which part of failed calls is too large, of the calls of one sweep interval, however the other
/// endpoints do.
///
/// ```
/// use sd_core::FailurePercentageEjection;
///
/// let half = FailurePercentageEjection { threshold: 50, ..Default::default() };
/// assert_eq!(half.request_volume, 50);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailurePercentageEjection {
    /// An endpoint is ejected if this percentage of its calls has failed, or more. Default: 85.
    pub threshold: u8,
    /// With fewer addresses that had enough calls, none is ejected. Default: 5.
    pub minimum_hosts: usize,
    /// How many calls are enough for an address to count. Default: 50.
    pub request_volume: u64,
}

impl Default for FailurePercentageEjection {
    fn default() -> Self {
        Self {
            threshold: 85,
            minimum_hosts: 5,
            request_volume: 50,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) consecutive_failures: Option<u32>,
    pub(super) success_rate: Option<SuccessRateEjection>,
    pub(super) failure_percentage: Option<FailurePercentageEjection>,
    pub(super) sweep_interval: Duration,
    pub(super) ejection_time: Duration,
    /// Not shorter than `ejection_time`.
    pub(super) longest_ejection_time: Duration,
    pub(super) max_ejection_percent: u8,
    pub(super) panic_percent: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            success_rate: Some(SuccessRateEjection::default()),
            failure_percentage: Some(FailurePercentageEjection::default()),
            sweep_interval: Duration::from_secs(10),
            ejection_time: Duration::from_secs(30),
            longest_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            panic_percent: PANIC_PERCENT,
        }
    }
}
