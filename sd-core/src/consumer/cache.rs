//! The event cache: the current state of a source, fanned out to its subscribers.

use crate::instances::{Event, Events};
use tokio::{sync::watch, time::Instant};

/// Holds the current state and wakes whoever waits for a newer one. Not `Clone`: who owns it is the
/// one who publishes. Subscribers share one slot, so memory does not grow with what they leave
/// unread, and publishing does not wait for them.
///
/// Dropping it publishes the last state once more, marked as stopped, and ends all subscriptions.
/// It is the drop that does so, because a source can end in many ways: stopped, dropped, aborted, or
/// together with its runtime.
#[derive(Debug)]
pub(crate) struct EventCache(watch::Sender<Option<Event>>);

impl EventCache {
    /// A cache that knows nothing yet.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Makes `event` the current state.
    pub(crate) fn publish(&self, event: Event) {
        self.0.send_replace(Some(event));
    }

    /// A handle from which any number of subscriptions can be made; it keeps no source alive.
    pub(crate) fn reader(&self) -> EventReader {
        EventReader(self.0.subscribe())
    }
}

impl Drop for EventCache {
    fn drop(&mut self) {
        let last = self.0.borrow().clone();
        if let Some(last) = last {
            self.publish(last.stopped(Instant::now()));
        }
    }
}

/// The readers' end of an [`EventCache`].
#[derive(Debug, Clone)]
pub(crate) struct EventReader(watch::Receiver<Option<Event>>);

impl EventReader {
    /// The current state.
    pub(crate) fn state(&self) -> Option<Event> {
        self.0.borrow().clone()
    }

    /// The states from the current one on.
    pub(crate) fn subscribe(&self) -> Events {
        Events::new(self.0.clone())
    }
}
