//! What a registrar publishes: status, log, metrics, and the answers to calls.

use super::status_log::StatusLog;
use crate::{
    provider::{
        meters::RegistrarMeters,
        registration_state::RegistrationState,
        status::{RegistrarStatus, Updated},
    },
    registry::{Deregistered, Result, Service},
};
use std::sync::Arc;
use tokio::{sync::watch, time::Instant};

/// The answers to all calls up to the call `seen`; `None` while open.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) seen: u64,
    pub(super) registered: Option<Result<()>>,
    pub(super) updated: Option<Result<Updated>>,
    pub(super) deregistered: Option<Result<Deregistered>>,
    /// Whether the registrar has nothing left to do.
    pub(super) ended: bool,
}

pub(super) struct Publisher {
    status: watch::Sender<Arc<RegistrarStatus>>,
    answers: watch::Sender<Answers>,
    log: StatusLog,
    meters: RegistrarMeters,
}

impl Publisher {
    pub(super) fn new(
        status: watch::Sender<Arc<RegistrarStatus>>,
        answers: watch::Sender<Answers>,
    ) -> Self {
        Self {
            status,
            answers,
            log: StatusLog::default(),
            meters: RegistrarMeters::default(),
        }
    }

    /// Publishes the status if it has changed, and then the answers to all calls up to `seen`.
    pub(super) fn publish(&mut self, service: &Service, state: &RegistrationState, seen: u64) {
        let new = state.status();
        let old = self.status.borrow().clone();
        if !new.same(&old) {
            self.log.status_changed(service, &old, &new, Instant::now());
            self.meters.status_changed(&old, &new);
            self.status.send_replace(Arc::new(new));
        }
        self.answers.send_replace(Answers {
            seen,
            registered: state.register_result(),
            updated: state.update_result(),
            deregistered: state.deregister_result(),
            ended: state.has_ended(),
        });
    }
}
