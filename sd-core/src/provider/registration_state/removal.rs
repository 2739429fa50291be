//! Deregistering: announce draining, wait, remove.

use super::{Action, Phase, RegistrationState};
use crate::{
    provider::status::RegistrarStatus,
    registry::{Deregistered, Error, Result},
};
use std::time::Duration;
use tokio::time::Instant;

/// The share of the time for deregistering that announcing it may take.
const ANNOUNCING_SHARE: u32 = 4;

/// The steps of a deregistration.
#[derive(Debug, Clone, Copy)]
pub(super) enum Removal {
    /// Draining is written into the entry. The rest has to be done by `deadline`.
    Announcing { deadline: Instant },
    /// Consumers know that the entry goes. Removing it may take `time_left`.
    Draining { time_left: Duration },
    /// The entry is removed.
    Removing,
}

impl RegistrationState {
    /// The owner asks to be deregistered.
    pub(super) fn deregister(&mut self, now: Instant) -> Option<Action> {
        self.register_next = false;
        let deadline = now + self.options.deregister_timeout;
        match &self.phase {
            Phase::Removing(_) => None,
            Phase::Ended(_) if self.may_hold_entry => self.remove(deadline),
            Phase::Ended(status) => {
                self.removed = Some(match status {
                    RegistrarStatus::Deregistered(outcome) => Ok(*outcome),
                    // The entry may stay until its lease ends, and there is no client left to ask.
                    RegistrarStatus::Closed => Err(Error::Closed),
                    _ => Ok(Deregistered::NotOurs),
                });
                None
            }
            Phase::Registering { .. } | Phase::Reclaiming { .. } => self.remove(deadline),
            Phase::Taken { value, .. } => {
                let is_edit = |key| {
                    let wanted = &self.value.wanted;
                    self.options.differs_in_weight_or_status(key, wanted, value)
                };
                let is_edit = self.key.as_ref().is_some_and(is_edit);
                self.unleased_edit = is_edit.then(|| value.clone());
                self.remove(deadline)
            }
            Phase::Registered { key, .. } => {
                let draining = self.options.draining(key, &self.value.wanted);
                match draining.filter(|draining| !self.value.is_current(draining)) {
                    None => self.remove(deadline),
                    Some(draining) => {
                        self.removed = None;
                        self.phase = Phase::Removing(Removal::Announcing { deadline });
                        let until = now + self.options.deregister_timeout / ANNOUNCING_SHARE;
                        self.begin(Action::Reclaim(draining), Some(until))
                    }
                }
            }
        }
    }

    /// Draining is announced.
    pub(super) fn announced(&mut self, deadline: Instant, now: Instant) -> Option<Action> {
        if self.options.drain.is_zero() {
            return self.remove(deadline);
        }
        let time_left = deadline - now;
        self.phase = Phase::Removing(Removal::Draining { time_left });
        self.begin(Action::AwaitLoss, Some(now + self.options.drain))
    }

    /// The current step has ended or has no time left.
    pub(super) fn next_removal_step(&mut self, step: Removal, now: Instant) -> Option<Action> {
        match step {
            Removal::Announcing { deadline } => self.remove(deadline),
            Removal::Draining { time_left } => self.remove(now + time_left),
            Removal::Removing => self.deregistered(Ok(Deregistered::Unconfirmed)),
        }
    }

    /// The registry has answered, or the time for it has run out.
    pub(super) fn deregistered(&mut self, outcome: Result<Deregistered>) -> Option<Action> {
        self.unleased_edit = None;
        self.may_hold_entry = !matches!(outcome, Ok(Deregistered::Removed | Deregistered::NotOurs));
        self.removed = Some(outcome.clone());
        if std::mem::take(&mut self.register_next) {
            return self.begin_registering();
        }
        self.end(match outcome {
            Ok(outcome) => RegistrarStatus::Deregistered(outcome),
            Err(Error::Closed) => RegistrarStatus::Closed,
            Err(error) => RegistrarStatus::Failed(error),
        })
    }

    fn remove(&mut self, deadline: Instant) -> Option<Action> {
        self.removed = None;
        self.phase = Phase::Removing(Removal::Removing);
        self.begin(Action::Deregister, Some(deadline))
    }
}
