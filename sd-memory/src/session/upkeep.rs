//! The tasks behind registrations: keeping leases alive, and hearing of losses.

use super::{Desk, Session};
use crate::shared::State;
use sd_core::{Error, LeaseId, Ttl};
use std::sync::Arc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

impl Session {
    /// Keeps a lease alive until it is given up or lost.
    pub(super) async fn keep_alive(
        self: Arc<Self>,
        lease: LeaseId,
        ttl: Ttl,
        stop: CancellationToken,
    ) {
        let kept = async {
            let mut news = self.registry.news();
            loop {
                sleep(ttl.keep_alive_interval()).await;
                self.send(|calls| &mut calls.keep_alives).await;
                loop {
                    news.mark_heard();
                    let attempt =
                        self.attempt_once(&mut Some(|_: &mut Desk, state: &mut State, now| {
                            state.store.keep_alive(&lease, now)
                        }));
                    match attempt {
                        Ok(Some(true)) => break,
                        Ok(Some(false)) | Err(Error::Closed) => return,
                        Ok(None) | Err(_) => {}
                    }
                    news.changed().await;
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

    /// Reads the registry's news for the registrations, for as long as there are any.
    pub(super) async fn listen(self: Arc<Self>) {
        let heard = async {
            let mut news = self.registry.news();
            loop {
                news.mark_heard();
                {
                    let mut desk = self.desk();
                    if desk.book.is_empty() {
                        desk.listening = false;
                        return;
                    }
                    let _ = self
                        .registry
                        .attempt(|state, _| desk.book.catch_up(&state.store));
                }
                news.changed().await;
            }
        };
        self.stop.run_until_cancelled(heard).await;
    }
}
