//! What an endpointer says of itself.

use crate::{calls::factory::FactoryError, instances::Health, registry::Key};
use imbl::OrdMap;
use tokio::time::Instant;

/// How an [`Endpointer`](crate::Endpointer) is doing. Cheap to clone, however much there is to say.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EndpointerStatus {
    /// How many instances there are; `None` while that is not known.
    pub instances: Option<usize>,
    /// How many endpoints there are to pick from.
    pub endpoints: usize,
    /// How many instances wait for their factory to finish, or to be tried again.
    pub making: usize,
    /// Whether the source follows its registry; `None` before its first event.
    pub health: Option<Health>,
    /// Whether there is nothing to pick because the source has been stale for too long.
    pub invalidated: bool,
    pub(super) ready: bool,
    /// Whether the source has ended, so that no instance will come or go any more.
    pub ended: bool,
    pub(super) failures: OrdMap<Key, FactoryFailure>,
}

impl EndpointerStatus {
    /// The instances whose factories fail at the moment, in the order of their keys.
    pub fn failures(&self) -> impl ExactSizeIterator<Item = (&Key, &FactoryFailure)> {
        self.failures.iter()
    }

    /// Whether nobody who knows `self` needs to hear of `other`.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
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
        // Trouble is told apart by when it began.
        let stale_since = |status: &Self| match status.health {
            Some(Health::Stale { since, .. }) => Some(since),
            Some(Health::Live) | None => None,
        };
        counts(self) == counts(other)
            && self.health.is_some() == other.health.is_some()
            && stale_since(self) == stale_since(other)
            && self.failures.ptr_eq(&other.failures)
    }

    /// Whether [`Endpointer::ready`](crate::Endpointer::ready) has nothing to wait for.
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}

/// A factory that fails for an instance, for as long as it does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FactoryFailure {
    /// The address that it cannot make an endpoint of.
    pub address: Box<str>,
    /// How often it has failed in a row.
    pub attempts: u32,
    /// Since when.
    pub since: Instant,
    /// What it said last.
    pub error: FactoryError,
}
