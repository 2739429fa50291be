//! The answers of the registry to the actions.

use super::{Action, RegistrationState, phase::Phase, removal::Removal, value::is_unacceptable};
use crate::{
    provider::{key_value::KeyValue, status::RegistrarStatus},
    registry::{Deregistered, Error, Key, LeaseId, Lost, Result, ServiceKey},
};
use bytes::Bytes;
use tokio::time::Instant;

impl RegistrationState {
    pub(super) fn registered(
        &mut self,
        key: Key,
        lease: LeaseId,
        sent: KeyValue,
        now: Instant,
    ) -> Option<Action> {
        self.may_hold(&sent.key);
        self.value.confirm(sent);
        if let Phase::Removing(Removal::Announcing { deadline }) = self.phase {
            return self.announced(deadline, now);
        }
        self.key = Some(key.clone());
        self.retry.succeeded(now);
        self.retake.succeeded(now);
        self.value.clear_refusal();
        self.phase = Phase::Registered {
            key,
            lease,
            error: None,
        };
        self.keep(now)
    }

    pub(super) fn register_failed(
        &mut self,
        error: Error,
        sent: KeyValue,
        now: Instant,
    ) -> Option<Action> {
        if may_have_taken_effect(&error) {
            self.may_hold(&sent.key);
        }
        let newest = sent == self.value.wanted;
        match &mut self.phase {
            Phase::Registering {
                attempt,
                error: last,
            } if error.is_transient() => {
                *attempt += 1;
                *last = Some(error);
                let at = now + self.retry.failed(now);
                self.begin(Action::Idle, Some(at))
            }
            _ if matches!(error, Error::Closed) => self.end(RegistrarStatus::Closed),
            Phase::Registered { .. } => self.move_failed(error, newest, now),
            _ if matches!(error, Error::Superseded) => self.superseded(),
            Phase::Taken { retake_at, .. } => {
                *retake_at = Some(now + self.retake.failed(now));
                if newest {
                    self.value.give_up_if_unacceptable(&error);
                }
                self.wait_for_key(now)
            }
            _ => self.end(RegistrarStatus::Failed(error)),
        }
    }

    /// The entry could not be registered under another key. It stands under the one that it has.
    fn move_failed(&mut self, error: Error, newest: bool, now: Instant) -> Option<Action> {
        // Who has that key on this client was told to register it later.
        let gives_up =
            matches!(error, Error::Superseded) && (!newest || self.value.give_up(&error));
        if gives_up || is_unacceptable(&error) && self.may_keep(&error, newest) {
            return self.keep(now);
        }
        self.write_failed(error, newest, now)
    }

    /// What was left under these former keys was ended, or may not have been.
    pub(super) fn former_ended(
        &mut self,
        ended: &[ServiceKey],
        outcome: &Result<Deregistered>,
        now: Instant,
    ) -> Option<Action> {
        if matches!(outcome, Ok(Deregistered::Removed | Deregistered::NotOurs)) {
            self.may_hold.retain(|key| !ended.contains(key));
        }
        if matches!(outcome, Err(Error::Closed)) {
            return self.end(RegistrarStatus::Closed);
        }
        // The client goes on trying, and so does the registrar, but the newest value does not wait for it.
        self.write().or_else(|| {
            let again = self.has_former().then(|| now + self.retry.longest());
            self.begin(Action::AwaitLoss, again)
        })
    }

    pub(super) fn lost(&mut self, lost: Lost, now: Instant) -> Option<Action> {
        // Unless a write that was not answered may have come after the successor: then it is ended as any other.
        if lost == Lost::Superseded && !self.value.uncertain {
            let lost = self.value.written_key().cloned();
            self.may_hold.retain(|key| Some(key) != lost.as_ref());
        }
        if let Phase::Removing(step) = self.phase {
            return match lost {
                // What stands now is the successor's.
                Lost::Superseded if self.may_hold.is_empty() => {
                    self.deregistered(Ok(Deregistered::NotOurs), now)
                }
                _ => self.next_removal_step(step, now),
            };
        }
        match lost {
            Lost::Taken { value } => self.taken(value, now),
            Lost::Superseded => self.superseded(),
            Lost::Closed => self.end(RegistrarStatus::Closed),
            Lost::Deregistered => self.end(RegistrarStatus::Deregistered(Deregistered::Removed)),
            Lost::Overwritten { value } if self.is_edit(&value) => {
                self.value.adopt(value.clone());
                self.begin(Action::Reclaim(value), None)
            }
            Lost::LeaseExpired | Lost::KeyDeleted | Lost::Overwritten { .. } | Lost::RolledBack => {
                self.phase = Phase::Reclaiming {
                    lost,
                    attempt: 1,
                    error: None,
                };
                let at = now + self.retry.failed(now);
                self.begin(Action::Idle, Some(at))
            }
        }
    }

    /// Whether `value`, found in the entry, is an edit of what was written there. What the owner has
    /// asked for meanwhile, or what a write that was not answered may have left, is none.
    fn is_edit(&self, value: &Bytes) -> bool {
        match &self.phase {
            Phase::Registered { key, .. } if self.value.is_written() => self
                .options
                .format
                .is_same_instance(key, &self.value.wanted.value, value),
            _ => false,
        }
    }

    pub(super) fn taken(&mut self, value: Bytes, now: Instant) -> Option<Action> {
        let retake_at = match self.phase {
            Phase::Removing(step) => return self.next_removal_step(step, now),
            Phase::Taken { retake_at, .. } => retake_at,
            _ => {
                self.retry.failed(now);
                let retake = self.options.retake;
                retake.then(|| now + self.retake.failed(now))
            }
        };
        self.phase = Phase::Taken { value, retake_at };
        self.wait_for_key(now)
    }

    pub(super) fn reclaim_failed(
        &mut self,
        error: Error,
        newest: bool,
        now: Instant,
    ) -> Option<Action> {
        if matches!(error, Error::Superseded) {
            return self.lost(Lost::Superseded, now);
        }
        if let Phase::Removing(step) = self.phase {
            return self.next_removal_step(step, now);
        }
        if matches!(error, Error::Closed) {
            return self.end(RegistrarStatus::Closed);
        }
        self.value.uncertain |= may_have_taken_effect(&error);
        let may_keep = self.may_keep(&error, newest);
        if let Phase::Taken { .. } = self.phase {
            return self.wait_for_key(now);
        }
        if let Phase::Registered { .. } = self.phase
            && is_unacceptable(&error)
            && may_keep
        {
            return self.keep(now);
        }
        self.write_failed(error, newest, now)
    }

    /// Whether something else than what the registry has refused is to be written: a newer value, or the one before.
    fn may_keep(&mut self, error: &Error, newest: bool) -> bool {
        !newest || self.value.give_up_if_unacceptable(error)
    }

    /// The value was not written. It is tried again later.
    fn write_failed(&mut self, error: Error, newest: bool, now: Instant) -> Option<Action> {
        let delay = match error.is_transient() {
            true => self.retry.failed(now),
            false => self.retry.longest(),
        };
        match &mut self.phase {
            Phase::Registered { error: last, .. } => {
                *last = Some(error.clone());
                self.value.refuse(error, newest);
                self.begin(Action::AwaitLoss, Some(now + delay))
            }
            Phase::Reclaiming {
                attempt,
                error: last,
                ..
            } => {
                *attempt += 1;
                *last = Some(error);
                self.begin(Action::Idle, Some(now + delay))
            }
            _ => None,
        }
    }
}

/// Whether a put that ended so may have reached the registry.
fn may_have_taken_effect(error: &Error) -> bool {
    error.is_transient() || matches!(error, Error::Panicked { .. })
}
