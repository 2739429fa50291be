//! The tasks behind registrations: keeping leases alive, and noticing losses.

use super::{Session, SessionState};
use crate::shared::{Kind, State};
use sd_core::{Error, LeaseId, Ttl};
use std::sync::Arc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

impl Session {
    /// Keeps a lease alive until it is revoked or lost.
    pub(super) async fn keep_alive(
        self: Arc<Self>,
        lease: LeaseId,
        ttl: Ttl,
        stop: CancellationToken,
    ) {
        let kept = async {
            let mut changes = self.registry.listen();
            loop {
                sleep(ttl.keep_alive_interval()).await;
                self.send(|calls| &mut calls.keep_alives).await;
                loop {
                    changes.mark_seen();
                    let keep_alive = |session: &mut SessionState, state: &mut State, now| {
                        let lives = state.store.keep_alive(&lease, now);
                        if lives {
                            session
                                .holdings
                                .ledger
                                .confirmed(&lease, ttl.duration(), now);
                        }
                        lives
                    };
                    match self.attempt_once(Kind::Upkeep, &mut Some(keep_alive)) {
                        Ok(Some(true)) => break,
                        Ok(Some(false)) | Err(Error::Closed) => return,
                        Ok(None) => {}
                        Err(error) => self.lock().holdings.ledger.not_confirmed(&lease, error),
                    }
                    changes.changed().await;
                }
            }
        };
        let either = async {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = kept => {}
            }
        };
        self.stop.run_until_cancelled(either).await;
    }

    /// Tells registrations when the registry has lost them. Runs while there are registrations.
    pub(super) async fn listen(self: Arc<Self>) {
        let heard = async {
            let mut changes = self.registry.listen();
            loop {
                changes.mark_seen();
                {
                    let mut session = self.lock();
                    if session.holdings.is_idle() {
                        session.listening = false;
                        return;
                    }
                    let _ = self.registry.attempt(self.id, Kind::Upkeep, |state, _| {
                        session.holdings.catch_up(&mut state.store);
                    });
                }
                changes.changed().await;
            }
        };
        self.stop.run_until_cancelled(heard).await;
    }
}
