//! The status of an endpointer.

use super::address::Address;
use crate::{
    calls::factory::FactoryError,
    instances::Health,
    registry::{Error, ErrorChain, Escaped, Key},
};
use imbl::OrdMap;
use std::{fmt, sync::Arc};
use tokio::time::Instant;

/// The status of an [`Endpointer`](crate::Endpointer), for logs and readiness probes, and to find
/// out why there are fewer endpoints than instances. Cheap to clone, however many instances there
/// are.
///
/// ```
/// use sd_core::{Endpointer, FixedInstancer, Instance, Key, factory_fn};
/// use std::net::SocketAddr;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hello = FixedInstancer::new([Instance::new(Key::new("/hello/a")?, "no address")]);
/// let parse = factory_fn(|instance| Ok(instance.address().parse::<SocketAddr>()?));
/// let endpointer = Endpointer::new(hello, parse);
/// endpointer.ready().await?;
///
/// let status = endpointer.status().borrow();
/// assert_eq!(status.to_string(), "0 endpoints for 1 instance, 1 failing");
/// for (key, failure) in status.failures() {
///     println!("{key}: {failure}"); // /hello/a: no address: invalid socket address syntax ...
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EndpointerStatus {
    /// How many instances there are. `None` before the source's first event.
    pub instances: Option<usize>,
    /// What keeps the source from its first event; see
    /// [`NoEndpoints::SourceFailed`](crate::NoEndpoints::SourceFailed).
    pub source_error: Option<Arc<Error>>,
    /// How many endpoints there are to pick from. Instances that have one address share one.
    pub endpoints: usize,
    /// For how many addresses a factory runs, or waits to be tried again.
    pub making: usize,
    /// Whether the source follows its registry; `None` before its first event. Stale once the
    /// endpointer has ended.
    pub health: Option<Health>,
    /// Whether picks fail because the source has been stale for too long; see
    /// [`invalidate_on_error`](crate::EndpointerBuilder::invalidate_on_error).
    pub invalidated: bool,
    pub(super) ready: bool,
    /// Whether the endpoints no longer change: the source has ended, or the endpointer was stopped,
    /// has panicked, or has lost its runtime.
    pub ended: bool,
    pub(super) failures: OrdMap<Address, FactoryFailure>,
}

impl EndpointerStatus {
    /// The addresses whose factories fail at the moment, in their order, each with the key of the
    /// instance that [speaks](crate::Endpointer) for it.
    pub fn failures(&self) -> impl ExactSizeIterator<Item = (&Key, &FactoryFailure)> {
        self.failures
            .values()
            .map(|failure| (&failure.key, failure))
    }

    /// Whether readers of `previous` have to be woken.
    pub(super) fn differs_from(&self, previous: &Self) -> bool {
        let counts = |status: &Self| {
            let Self {
                instances,
                endpoints,
                making,
                invalidated,
                ready,
                ended,
                ..
            } = *status;
            (instances, endpoints, making, invalidated, ready, ended)
        };
        // Two troubles are the same if they began at the same time.
        let stale_since = |status: &Self| match status.health {
            Some(Health::Stale { since, .. }) => Some(since),
            Some(Health::Live) | None => None,
        };
        counts(self) != counts(previous)
            || self.source_error.is_some() != previous.source_error.is_some()
            || self.health.is_some() != previous.health.is_some()
            || stale_since(self) != stale_since(previous)
            || !self.failures.ptr_eq(&previous.failures)
    }

    /// Whether [`Endpointer::ready`](crate::Endpointer::ready) returns `Ok` at once.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether nobody need wait for it to become ready.
    pub(super) fn has_failed(&self) -> bool {
        self.source_error.is_some() || self.ended && self.instances.is_none()
    }
}

impl fmt::Display for EndpointerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        let endpoints = self.endpoints;
        write!(f, "{endpoints} endpoint{}", plural(endpoints))?;
        match self.instances {
            Some(instances) => write!(f, " for {instances} instance{}", plural(instances))?,
            None => f.write_str(", the instances are not known yet")?,
        }
        if let Some(error) = &self.source_error {
            write!(f, ": {}", ErrorChain(error))?;
        }
        let failing = self.failures.len();
        // What fails counts as making too.
        let making = self.making.saturating_sub(failing);
        for (count, what) in [(making, "being made"), (failing, "failing")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if let Some(Health::Stale { why, .. }) = &self.health {
            write!(f, ", stale: {}", ErrorChain(why))?;
        }
        let flags = [(self.invalidated, "invalidated"), (self.ended, "ended")];
        for (_, what) in flags.into_iter().filter(|(is_set, _)| *is_set) {
            write!(f, ", {what}")?;
        }
        Ok(())
    }
}

/// A factory's failures in a row for one address.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FactoryFailure {
    /// The key of the instance that spoke for the address at the last failure.
    pub(super) key: Key,
    /// The address.
    pub address: Box<str>,
    /// How often it has failed in a row.
    pub attempts: u32,
    /// When it failed first.
    pub since: Instant,
    /// Its last error.
    pub error: FactoryError,
}

impl fmt::Display for FactoryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            attempts,
            error,
            ..
        } = self;
        let noun = if *attempts == 1 {
            "attempt"
        } else {
            "attempts"
        };
        let (address, error) = (Escaped(address), ErrorChain(error));
        write!(f, "{address}: {error} ({attempts} {noun})")
    }
}
