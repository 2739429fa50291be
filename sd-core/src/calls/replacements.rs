//! Requests for other targets, on their way from the callers to the endpointer.

use crate::instances::Instance;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The hosts that are to have another target, each by an instance that has its address. A host is
/// added once at most, so there are never more than were made since the last [`take`](Self::take).
#[derive(Default)]
pub(super) struct Replacements {
    hosts: Mutex<Vec<Arc<Instance>>>,
    /// Woken when one is added.
    added: Notify,
}

impl Replacements {
    /// Asks for another target of the host at the address of `instance`.
    pub(super) fn add(&self, instance: Arc<Instance>) {
        let hosts = self.hosts.lock();
        hosts.unwrap_or_else(PoisonError::into_inner).push(instance);
        self.added.notify_one();
    }

    /// Waits until some were added. Cancellation safe.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// Takes those that were added.
    pub(super) fn take(&self) -> Vec<Arc<Instance>> {
        let hosts = self.hosts.lock();
        std::mem::take(&mut *hosts.unwrap_or_else(PoisonError::into_inner))
    }
}
