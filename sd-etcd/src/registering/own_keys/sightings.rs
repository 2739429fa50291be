//! What a session has not looked at yet.

use crate::registering::service_map::ServiceMap;
use sd_core::ServiceKey;
use std::{
    mem::take,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Changes of own keys, as a watch has seen them. Of each key the newest is kept, so that nobody fills memory by
/// changing a key.
#[derive(Default)]
pub(in crate::registering) struct Sightings {
    unread: Mutex<Seen>,
    readable: Notify,
}

#[derive(Debug, Default)]
pub(in crate::registering) struct Seen {
    /// The newest modification, or deletion, of the key of each service.
    pub(in crate::registering) keys: ServiceMap<i64>,
    /// Others may have been missed.
    pub(in crate::registering) has_missed: bool,
}

impl Sightings {
    fn unread(&self) -> MutexGuard<'_, Seen> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, service: &ServiceKey, modified: i64) {
        let mut unread = self.unread();
        match unread.keys.get_mut(service) {
            Some(newest) => *newest = modified.max(*newest),
            None => drop(unread.keys.insert(service.clone(), modified)),
        }
        drop(unread);
        self.readable.notify_one();
    }

    pub(super) fn missed(&self) {
        self.unread().has_missed = true;
        self.readable.notify_one();
    }

    /// Waits until there is something, and takes it. For one reader. Cancellation safe.
    pub(in crate::registering) async fn next(&self) -> Seen {
        loop {
            let seen = take(&mut *self.unread());
            if !seen.keys.is_empty() || seen.has_missed {
                return seen;
            }
            self.readable.notified().await;
        }
    }
}
