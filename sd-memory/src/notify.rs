//! Wakes everything that waits for the registry to change.
//!
//! The listener that has waited longest is woken first, so that a program on one thread with seeded
//! random numbers repeats exactly. tokio's channels wake their receivers in any order.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// The sending side. Nothing is queued: a slow listener sees several changes as one.
#[derive(Debug, Default)]
pub(crate) struct Notifier(Arc<Changes>);

#[derive(Debug, Default)]
struct Changes {
    count: AtomicU64,
    notify: Notify,
}

/// Waits for changes.
#[derive(Debug)]
pub(crate) struct Listener {
    changes: Arc<Changes>,
    seen: u64,
}

impl Notifier {
    /// Wakes all listeners.
    pub(crate) fn notify(&self) {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        self.0.notify.notify_waiters();
    }

    /// A listener that sees changes from now on.
    pub(crate) fn listen(&self) -> Listener {
        let mut listener = Listener {
            changes: Arc::clone(&self.0),
            seen: 0,
        };
        listener.mark_seen();
        listener
    }
}

impl Listener {
    /// Marks all changes until now as seen.
    pub(crate) fn mark_seen(&mut self) {
        self.seen = self.changes.count.load(Ordering::Acquire);
    }

    /// Waits for a change that was not seen yet. Cancellation safe.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Made before the check, so that no change in between is missed.
            let notified = self.changes.notify.notified();
            if self.changes.count.load(Ordering::Acquire) != self.seen {
                break;
            }
            notified.await;
        }
        self.mark_seen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::Mutex;

    #[test]
    fn a_change_between_a_look_and_the_wait_is_not_missed() {
        let notifier = Notifier::default();
        let mut listener = notifier.listen();
        assert!(listener.changed().now_or_never().is_none());
        notifier.notify();
        notifier.notify();
        assert!(listener.changed().now_or_never().is_some());
        assert!(listener.changed().now_or_never().is_none(), "seen once");
        notifier.notify();
        listener.mark_seen();
        assert!(listener.changed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_has_waited_longest_is_woken_first() {
        let notifier = Notifier::default();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for n in 0..40 {
            let (mut listener, woken) = (notifier.listen(), woken.clone());
            waiting.push(tokio::spawn(async move {
                listener.changed().await;
                woken.lock().unwrap().push(n);
            }));
            tokio::task::yield_now().await;
        }
        notifier.notify();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*woken.lock().unwrap(), (0..40).collect::<Vec<_>>());
    }
}
