//! The end of a session.

use super::Session;
use crate::shared::Attempt;
use sd_core::{LeaseId, Lost};
use tokio::time::timeout;

impl Session {
    /// Ends the session and says nothing to the registry: its leases run out.
    pub(crate) fn abandon(&self) -> Vec<LeaseId> {
        let mut desk = self.desk();
        desk.closed = true;
        let leases = desk.book.close(&Lost::Closed);
        desk.removals.clear();
        self.stop.cancel();
        self.tasks.close();
        drop(desk);
        self.registry
            .with(|state, _| state.watchers.retain(|_, client| *client != self.id));
        leases
    }

    /// Ends the session as well as can be done without waiting.
    pub(crate) fn drop_all(&self) {
        let leases = self.abandon();
        if leases.is_empty() {
            return;
        }
        let _ = self.registry.attempt(|state, _| {
            for lease in &leases {
                state.store.revoke(lease);
            }
        });
    }

    /// Ends the session, and waits until its leases are revoked, for a bounded time, and its tasks
    /// have ended.
    pub(crate) async fn close(&self) {
        let leases = self.abandon();
        let revoked = async {
            let mut news = self.registry.news();
            loop {
                news.mark_heard();
                let attempt = self.registry.attempt(|state, _| {
                    for lease in &leases {
                        state.store.revoke(lease);
                    }
                });
                if matches!(attempt, Attempt::Answered(())) {
                    return;
                }
                news.changed().await;
            }
        };
        if !leases.is_empty()
            && timeout(self.options.deregister_timeout, revoked)
                .await
                .is_err()
        {
            tracing::warn!(leases = leases.len(), "closed with leases that run out");
        }
        self.tasks.wait().await;
    }
}
