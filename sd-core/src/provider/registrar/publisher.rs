//! What a registrar publishes: status, log, metrics, and the answers to calls.

use super::status_log::StatusLog;
use crate::{
    provider::{
        meters::RegistrarMeters,
        registration_state::RegistrationState,
        status::{RegistrarStatus, Updated},
        value_format::ValueFormat,
    },
    registry::{Deregistered, LeaseProof, Result, Service},
};
use std::{future::pending, sync::Arc};
use tokio::{sync::watch, time::Instant};

/// The answers to all calls up to the call `seen`; `None` while open.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) seen: u64,
    pub(super) registered: Option<Result<()>>,
    pub(super) updated: Option<Result<Updated>>,
    pub(super) deregistered: Option<Result<Deregistered>>,
    /// The proof of the registration, while there is one.
    pub(super) proof: Option<LeaseProof>,
    /// Whether the registrar has nothing left to do.
    pub(super) ended: bool,
}

pub(super) struct Publisher {
    status: watch::Sender<Arc<RegistrarStatus>>,
    answers: watch::Sender<Answers>,
    log: StatusLog,
    format: ValueFormat,
    meters: RegistrarMeters,
}

impl Publisher {
    pub(super) fn new(
        status: watch::Sender<Arc<RegistrarStatus>>,
        answers: watch::Sender<Answers>,
        format: ValueFormat,
    ) -> Self {
        Self {
            status,
            answers,
            log: StatusLog::default(),
            format,
            meters: RegistrarMeters::default(),
        }
    }

    /// Publishes the status if it has changed, and then the answers to all calls up to `seen`.
    /// `proof` is the one of the registration, unless that is known to be lost.
    pub(super) fn publish(
        &mut self,
        service: &Service,
        state: &RegistrationState,
        proof: Option<&LeaseProof>,
        seen: u64,
    ) {
        let mut new = state.status();
        let proof = proof.filter(|_| new.is_registered());
        if let Some(proof) = proof {
            new.set_lease_status(proof.status());
        }
        let old = self.status.borrow().clone();
        if !new.same(&old) {
            let now = Instant::now();
            self.log
                .status_changed(service, &self.format, &old, &new, now);
            self.meters.status_changed(&old, &new);
            self.status.send_replace(Arc::new(new));
        }
        self.answers.send_replace(Answers {
            seen,
            registered: state.register_result(),
            updated: state.update_result(),
            deregistered: state.deregister_result(),
            proof: proof.cloned(),
            ended: state.has_ended(),
        });
    }

    /// Waits until `proof` says something else than the status. Returns never if no registration is
    /// published.
    pub(super) async fn outdated_by(&self, proof: Option<&LeaseProof>) {
        let published = self.status.borrow().clone();
        match proof.filter(|_| published.is_registered()) {
            Some(proof) => proof.until(|lease| !published.has_lease(lease)).await,
            None => pending().await,
        }
    }
}
