//! The status of an active health check: who is not well, and why.

use super::health_check::HealthCheckError;
use crate::registry::{ErrorChain, Escaped};
use std::{fmt, sync::Arc};
use tokio::time::Instant;

/// What an [`ActiveHealth`](crate::ActiveHealth) knows of its endpoints; see
/// [`ActiveHealth::status`](crate::ActiveHealth::status). Addresses are counted, not keys.
///
/// ```
/// use sd_core::HealthStatus;
///
/// let status = HealthStatus::default();
/// assert_eq!(status.to_string(), "0 endpoints healthy");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct HealthStatus {
    /// How many endpoints are healthy.
    pub healthy: usize,
    /// How many endpoints are new, so that nothing is known of them.
    pub unchecked: usize,
    /// Those that are not healthy, in the order of their addresses.
    pub unhealthy: Vec<UnhealthyEndpoint>,
    /// Whether all endpoints are used, since too few are healthy; see
    /// [`panic_percent`](crate::ActiveHealthBuilder::panic_percent).
    pub in_panic: bool,
}

impl HealthStatus {
    /// Whether readers of `previous` have to be woken.
    pub(super) fn differs_from(&self, previous: &Self) -> bool {
        let counts = |status: &Self| (status.healthy, status.unchecked, status.in_panic);
        let same = |(one, other): (&UnhealthyEndpoint, &UnhealthyEndpoint)| {
            one.since == other.since && one.address == other.address
        };
        counts(self) != counts(previous)
            || self.unhealthy.len() != previous.unhealthy.len()
            || !self.unhealthy.iter().zip(&previous.unhealthy).all(same)
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let healthy = self.healthy;
        let plural = if healthy == 1 { "" } else { "s" };
        write!(f, "{healthy} endpoint{plural} healthy")?;
        let others = [
            (self.unhealthy.len(), "unhealthy"),
            (self.unchecked, "not checked yet"),
        ];
        for (count, what) in others {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if self.in_panic {
            f.write_str(", in panic")?;
        }
        for (n, one) in self.unhealthy.iter().enumerate() {
            let separator = if n == 0 { ": " } else { "; " };
            write!(f, "{separator}{one}")?;
        }
        Ok(())
    }
}

/// An endpoint that is not healthy.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UnhealthyEndpoint {
    /// Its address.
    pub address: Arc<str>,
    /// Since when it is not healthy.
    pub since: Instant,
    /// The error of the check that decided it.
    pub error: HealthCheckError,
}

impl fmt::Display for UnhealthyEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, error) = (Escaped(&self.address), ErrorChain(&self.error));
        write!(f, "{address}: {error}")
    }
}
