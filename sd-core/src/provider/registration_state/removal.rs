//! Deregistering: announce draining, wait, remove; or remove, and wait then.

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
    /// Consumers know that the entry goes, and may call `until` then. Removing it may take `time_left`.
    Draining { until: Instant, time_left: Duration },
    /// The entry is removed. Consumers that learn it from that may call for `drain` longer.
    Removing { drain: Duration },
    /// The entry has been removed, and calls that are on their way are still served.
    Removed { outcome: Deregistered },
}

impl RegistrationState {
    /// The owner asks to be deregistered.
    pub(super) fn deregister(&mut self, now: Instant) -> Option<Action> {
        self.register_next = false;
        let deadline = now + self.options.deregister_timeout;
        let drain = self.options.drain;
        match &self.phase {
            Phase::Removing(_) => None,
            Phase::Ended(_) if !self.may_hold.is_empty() => self.remove(deadline, drain),
            Phase::Ended(status) => {
                self.removed = Some(match status {
                    RegistrarStatus::Deregistered(outcome) => Ok(*outcome),
                    // The entry may stay until its lease ends, and there is no client left to ask.
                    RegistrarStatus::Closed => Err(Error::Closed),
                    _ => Ok(Deregistered::NotOurs),
                });
                None
            }
            Phase::Registering { .. } | Phase::Reclaiming { .. } => self.remove(deadline, drain),
            Phase::Taken { value, .. } => {
                let is_edit = |key| {
                    let ours = &self.value.in_place().value;
                    let format = &self.options.format;
                    format.differs_in_weight_or_status(key, ours, value)
                };
                let is_edit = self.key.as_ref().is_some_and(is_edit);
                self.unleased_edit = is_edit.then(|| value.clone());
                self.remove(deadline, drain)
            }
            Phase::Registered { key, .. } => {
                let ours = &self.value.in_place().value;
                match self.options.format.draining(key, ours) {
                    None => self.remove(deadline, drain),
                    // Also if that is what stands there: somebody may just have edited it.
                    Some(draining) => {
                        self.note_attempt();
                        self.removed = None;
                        self.phase = Phase::Removing(Removal::Announcing { deadline });
                        let until = now + self.options.deregister_timeout / ANNOUNCING_SHARE;
                        self.begin(Action::Reclaim(draining), Some(until))
                    }
                }
            }
        }
    }

    /// The owner asks to be deregistered, and waits for no consumer.
    pub(super) fn deregister_now(&mut self, now: Instant) -> Option<Action> {
        let action = self.deregister(now);
        let Phase::Removing(step) = &mut self.phase else {
            return action;
        };
        match step {
            Removal::Announcing { .. } | Removal::Draining { .. } => {
                self.remove(now + self.options.deregister_timeout, Duration::ZERO)
            }
            Removal::Removing { drain } => {
                *drain = Duration::ZERO;
                action
            }
            Removal::Removed { outcome } => {
                let outcome = *outcome;
                self.end_removal(Ok(outcome))
            }
        }
    }

    /// Draining is announced.
    pub(super) fn announced(&mut self, deadline: Instant, now: Instant) -> Option<Action> {
        if self.options.drain.is_zero() {
            return self.remove(deadline, Duration::ZERO);
        }
        let until = now + self.options.drain;
        let time_left = deadline - now;
        self.phase = Phase::Removing(Removal::Draining { until, time_left });
        self.begin(Action::AwaitLoss, Some(until))
    }

    /// The current step has ended or has no time left.
    pub(super) fn next_removal_step(&mut self, step: Removal, now: Instant) -> Option<Action> {
        match step {
            Removal::Announcing { deadline } => self.remove(deadline, self.options.drain),
            Removal::Draining { until, time_left } => {
                self.remove(now + time_left, until.saturating_duration_since(now))
            }
            Removal::Removing { .. } => self.deregistered(Ok(Deregistered::Unconfirmed), now),
            Removal::Removed { outcome } => self.end_removal(Ok(outcome)),
        }
    }

    /// The registry has answered, or the time for it has run out.
    pub(super) fn deregistered(
        &mut self,
        outcome: Result<Deregistered>,
        now: Instant,
    ) -> Option<Action> {
        self.unleased_edit = None;
        let was_registered = self.key.take().is_some();
        match (&self.phase, &outcome) {
            (Phase::Removing(Removal::Removing { drain }), Ok(outcome))
                if was_registered && !drain.is_zero() && !self.register_next =>
            {
                let until = now + *drain;
                self.phase = Phase::Removing(Removal::Removed { outcome: *outcome });
                self.begin(Action::Idle, Some(until))
            }
            _ => self.end_removal(outcome),
        }
    }

    /// Nothing more is waited for.
    pub(super) fn end_removal(&mut self, outcome: Result<Deregistered>) -> Option<Action> {
        if matches!(outcome, Ok(Deregistered::Removed | Deregistered::NotOurs)) {
            self.may_hold.clear();
        }
        self.removed = Some(outcome.clone());
        if std::mem::take(&mut self.register_next) {
            self.value.end();
            return self.begin_registering();
        }
        self.end(match outcome {
            Ok(outcome) => RegistrarStatus::Deregistered(outcome),
            Err(Error::Closed) => RegistrarStatus::Closed,
            Err(error) => RegistrarStatus::Failed(error),
        })
    }

    fn remove(&mut self, deadline: Instant, drain: Duration) -> Option<Action> {
        self.note_attempt();
        self.removed = None;
        self.phase = Phase::Removing(Removal::Removing { drain });
        self.begin(Action::Deregister(self.may_hold.clone()), Some(deadline))
    }
}
