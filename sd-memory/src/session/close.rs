//! The end of a session.

use super::Session;
use crate::shared::{Attempt, Kind};
use sd_core::LeaseId;
use tokio::time::timeout;

impl Session {
    /// Ends the session without telling the registry: its leases expire.
    pub(crate) fn abandon(&self) -> Vec<LeaseId> {
        let mut session = self.lock();
        let leases = session.holdings.close();
        session.pending.clear();
        self.stop.cancel();
        self.tasks.close();
        drop(session);
        self.registry
            .with(|state, _| state.watchers.retain(|_, client| *client != self.id));
        leases
    }

    /// Ends the session without waiting.
    pub(crate) fn drop_all(&self) {
        let leases = self.abandon();
        if !leases.is_empty() {
            let _ = self.revoke(&leases);
        }
        self.registry.with(|state, _| state.forget(self.id));
    }

    /// Ends the session. Waits until its leases are revoked, within the deregister timeout, and
    /// until its tasks have ended.
    pub(crate) async fn close(&self) {
        let leases = self.abandon();
        let revoked = async {
            let mut changes = self.registry.listen();
            loop {
                changes.mark_seen();
                if matches!(self.revoke(&leases), Attempt::Answered(())) {
                    return;
                }
                changes.changed().await;
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
        self.registry.with(|state, _| state.forget(self.id));
    }

    fn revoke(&self, leases: &[LeaseId]) -> Attempt<()> {
        self.registry.attempt(self.id, Kind::Upkeep, |state, _| {
            for lease in leases {
                state.store.revoke(lease);
            }
        })
    }
}
