//! The status of an ejection: who is ejected, and why.

use crate::registry::Escaped;
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Which endpoints an [`Ejection`](crate::Ejection) has ejected; see
/// [`Ejection::status`](crate::Ejection::status).
///
/// ```
/// use sd_core::EjectionStatus;
///
/// let status = EjectionStatus::default();
/// assert_eq!(status.to_string(), "0 of 0 endpoints ejected");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct EjectionStatus {
    /// The ejected ones among the endpoints of the source, in the order of their addresses.
    pub ejected: Vec<EjectedEndpoint>,
    /// How many addresses the endpoints of the source have.
    pub endpoints: usize,
    /// Whether the ejected endpoints are used in spite of that, since too few are left; see
    /// [`panic_percent`](crate::EjectionBuilder::panic_percent).
    pub in_panic: bool,
}

impl fmt::Display for EjectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ejected, endpoints) = (self.ejected.len(), self.endpoints);
        let plural = if endpoints == 1 { "" } else { "s" };
        write!(f, "{ejected} of {endpoints} endpoint{plural} ejected")?;
        if self.in_panic {
            f.write_str(", in panic")?;
        }
        for (n, one) in self.ejected.iter().enumerate() {
            let separator = if n == 0 { ": " } else { "; " };
            write!(f, "{separator}{one}")?;
        }
        Ok(())
    }
}

/// An endpoint that gets no calls for some time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EjectedEndpoint {
    /// Its address.
    pub address: Arc<str>,
    /// Why it was ejected.
    pub reason: EjectionReason,
    /// When it was ejected.
    pub since: Instant,
    /// When it returns at the latest.
    pub until: Instant,
}

impl EjectedEndpoint {
    /// For how long it is ejected.
    pub fn ejection_time(&self) -> Duration {
        self.until.saturating_duration_since(self.since)
    }
}

impl fmt::Display for EjectedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, reason) = (self.ejection_time(), self.reason);
        write!(f, "{} for {time:?}: {reason}", Escaped(&self.address))
    }
}

/// Why an endpoint was ejected.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum EjectionReason {
    /// So many calls in a row had failed.
    #[non_exhaustive]
    ConsecutiveFailures {
        /// How many.
        failures: u32,
    },
    /// Its success rate was an outlier among those of all endpoints.
    #[non_exhaustive]
    SuccessRate {
        /// Its success rate.
        percent: f64,
        /// The least that was not an outlier.
        threshold: f64,
    },
    /// Too large a part of its calls had failed.
    #[non_exhaustive]
    FailurePercentage {
        /// Of how many it was.
        percent: f64,
    },
}

impl EjectionReason {
    /// The value of the label of the metric.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures { .. } => "consecutive_failures",
            Self::SuccessRate { .. } => "success_rate",
            Self::FailurePercentage { .. } => "failure_percentage",
        }
    }
}

impl fmt::Display for EjectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures { failures } => {
                write!(f, "{failures} calls in a row failed")
            }
            Self::SuccessRate { percent, threshold } => {
                write!(
                    f,
                    "{percent:.1} % of calls succeeded, less than {threshold:.1} %"
                )
            }
            Self::FailurePercentage { percent } => write!(f, "{percent:.1} % of calls failed"),
        }
    }
}
