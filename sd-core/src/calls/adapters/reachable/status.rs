//! The status of a selection of reachable endpoints: who cannot be reached, and why.

use crate::registry::{Cause, ErrorChain, Escaped};
use std::{fmt, sync::Arc};
use tokio::time::Instant;

/// Which hosts a [`Reachable`](crate::Reachable) can connect to; see
/// [`Reachable::status`](crate::Reachable::status). Targets are counted, not keys.
///
/// If none is reachable, all are used.
///
/// ```
/// use sd_core::ReachableStatus;
///
/// let status = ReachableStatus::default();
/// assert_eq!(status.to_string(), "0 endpoints reachable");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReachableStatus {
    /// How many endpoints are not failing. Those that have not connected yet are among them.
    pub reachable: usize,
    /// Those whose last connect failed, in the order of their addresses.
    pub unreachable: Vec<UnreachableEndpoint>,
}

impl ReachableStatus {
    /// Whether readers of `previous` have to be woken.
    pub(super) fn differs_from(&self, previous: &Self) -> bool {
        let same = |(one, other): (&UnreachableEndpoint, &UnreachableEndpoint)| {
            one.since == other.since && one.address == other.address
        };
        self.reachable != previous.reachable
            || self.unreachable.len() != previous.unreachable.len()
            || !self.unreachable.iter().zip(&previous.unreachable).all(same)
    }
}

impl fmt::Display for ReachableStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reachable, unreachable) = (self.reachable, self.unreachable.len());
        let plural = if reachable == 1 { "" } else { "s" };
        write!(f, "{reachable} endpoint{plural} reachable")?;
        if unreachable > 0 {
            write!(f, ", {unreachable} unreachable")?;
        }
        for (n, one) in self.unreachable.iter().enumerate() {
            let separator = if n == 0 { ": " } else { "; " };
            write!(f, "{separator}{one}")?;
        }
        Ok(())
    }
}

/// An endpoint whose host cannot be connected to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UnreachableEndpoint {
    /// Its address.
    pub address: Arc<str>,
    /// When the first connect failed.
    pub since: Instant,
    /// Why a connect failed: the newest one when the status was published.
    pub cause: Cause,
}

impl fmt::Display for UnreachableEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, cause) = (Escaped(&self.address), ErrorChain(&self.cause));
        write!(f, "{address}: {cause}")
    }
}
