//! Keeping a registration: what to do next, whatever happens.
//!
//! Of all that a provider asks of its registry, one thing is under way at a time: an [`Action`].
//! [`Tenure`] is told what happens ([`Input`]) and answers with the action that takes the place of
//! the one under way, if any. It does nothing itself, so that every order of events can be tried
//! without a runtime.
//!
//! Whatever it was asked before, nothing is put after [`Input::Deregister`] but the announcement of
//! draining, and nothing at all after [`Action::Deregister`], until it is told to register again.

mod action;
mod backoff;
#[cfg(test)]
mod model;
mod state;
mod terms;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use action::{Action, Input};
pub(crate) use terms::Terms;

use super::status::{RegistrarStatus, Updated};
use crate::registry::{Deregistered, Error, Key, LeaseId, Lost, Result};
use backoff::Backoff;
use bytes::Bytes;
use state::State;
use std::fmt;
use tokio::time::Instant;
use value::{Value, is_hopeless};

/// Taking a key back from somebody who takes it too becomes this many times as slow as other
/// attempts.
const RETAKE_SLOWER: u32 = 75;
/// The share of the time for deregistering that announcing it may take.
const ANNOUNCING_SHARE: u32 = 4;

/// The state of one registration, from the first attempt to the last word of the registry.
pub(crate) struct Tenure {
    terms: Terms,
    state: State,
    under_way: Action,
    timer: Option<Instant>,
    retry: Backoff,
    retake: Backoff,
    value: Value,
    /// What became of the last deregistration.
    outcome: Option<Result<Deregistered>>,
    /// Whether the client may hold an entry of ours.
    owed: bool,
    /// Whether to register again once deregistered.
    again: bool,
}

impl Tenure {
    /// A tenure that has not begun, of an entry with the value `wanted`.
    pub(crate) fn new(terms: Terms, wanted: Bytes) -> Self {
        let (min, max) = terms.backoff;
        Self {
            retry: Backoff::new(min, max),
            retake: Backoff::new(min, max.saturating_mul(RETAKE_SLOWER)),
            terms,
            state: State::Ended(RegistrarStatus::Idle),
            under_way: Action::Rest,
            timer: None,
            value: Value::new(wanted),
            outcome: None,
            owed: false,
            again: false,
        }
    }

    /// What is under way.
    pub(crate) fn under_way(&self) -> &Action {
        &self.under_way
    }

    /// When to say [`Input::TimerFired`], if nothing else happens before.
    pub(crate) fn timer(&self) -> Option<Instant> {
        self.timer
    }

    /// Whether nothing happens any more unless the owner says so.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// What to tell the world.
    pub(crate) fn status(&self) -> RegistrarStatus {
        self.state.status()
    }

    /// What to tell who asked to be registered; `None` while it is not decided.
    pub(crate) fn registered(&self) -> Option<Result<()>> {
        match &self.state {
            State::Held { .. } => Some(Ok(())),
            State::Registering { .. } | State::Reclaiming { .. } | State::Taken { .. } => None,
            State::Announcing { .. } | State::Draining { .. } | State::Removing => {
                (!self.again).then_some(Err(Error::Closed))
            }
            State::Ended(RegistrarStatus::Failed(error)) => Some(Err(error.clone())),
            State::Ended(_) => Some(Err(Error::Closed)),
        }
    }

    /// What to tell who brought the newest value; `None` while it is not decided.
    pub(crate) fn updated(&self) -> Option<Result<Updated>> {
        match (&self.value.refused, &self.state) {
            (Some(error), _) => Some(Err(error.clone())),
            (None, State::Held { .. }) => self.value.is_written().then_some(Ok(Updated::Written)),
            (None, _) => Some(Ok(Updated::Remembered)),
        }
    }

    /// What to tell who asked to be registered no more; `None` while it is not decided.
    pub(crate) fn deregistered(&self) -> Option<Result<Deregistered>> {
        self.outcome.clone()
    }

    /// Takes `input` into account. What is to be under way from now on; `None` if what is under way
    /// goes on. An answer to something that is not under way is ignored.
    pub(crate) fn on(&mut self, input: Input, now: Instant) -> Option<Action> {
        match (input, &self.under_way) {
            (Input::Register, _) => self.register(),
            (Input::Update(value), _) => self.update(value),
            (Input::Deregister, _) => self.deregister(now),
            (Input::TimerFired, _) => self.timer_fired(now),
            (Input::Registered { key, lease }, Action::Register(sent))
            | (Input::Reclaimed { key, lease }, Action::Reclaim(sent)) => {
                let sent = sent.clone();
                self.entry_stands(key, lease, sent, now)
            }
            (Input::RegisterFailed(error), Action::Register(sent)) => {
                let newest = *sent == self.value.wanted;
                self.register_failed(error, newest, now)
            }
            (Input::Taken { value }, Action::Reclaim(_)) => self.taken(value, now),
            (Input::ReclaimFailed(error), Action::Reclaim(sent)) => {
                let newest = *sent == self.value.wanted;
                self.reclaim_failed(error, newest, now)
            }
            (Input::Lost(lost), Action::Hold) => self.lost(lost, now),
            (Input::Deregistered(outcome), Action::Deregister) => self.gone(outcome),
            _ => None,
        }
    }

    // === What the owner wants ===

    fn register(&mut self) -> Option<Action> {
        match &self.state {
            State::Ended(_) => {
                self.retry.reset();
                self.begin()
            }
            // Asked for by name, so the key is taken over as a first registration would.
            State::Taken { .. } => {
                if !matches!(self.under_way, Action::Register(_)) {
                    return self.begin();
                }
                self.state = State::Registering {
                    attempt: 1,
                    error: None,
                };
                None
            }
            State::Announcing { .. } | State::Draining { .. } | State::Removing => {
                self.again = true;
                None
            }
            State::Registering { .. } | State::Held { .. } | State::Reclaiming { .. } => None,
        }
    }

    fn update(&mut self, value: Bytes) -> Option<Action> {
        self.value.want(value);
        match &self.state {
            // After a failure the newer value waits as the one before would have.
            State::Held { .. }
                if self.under_way == Action::Hold
                    && (self.timer.is_none() || self.value.is_written()) =>
            {
                self.hold()
            }
            _ => None,
        }
    }

    fn deregister(&mut self, now: Instant) -> Option<Action> {
        self.again = false;
        let deadline = now + self.terms.deregister_timeout;
        match &self.state {
            State::Announcing { .. } | State::Draining { .. } | State::Removing => None,
            State::Ended(_) if self.owed => self.remove(deadline),
            State::Ended(status) => {
                self.outcome = Some(match status {
                    RegistrarStatus::Deregistered(outcome) => Ok(*outcome),
                    // The entry may stand until its lease ends, and nobody is left to ask.
                    RegistrarStatus::Closed => Err(Error::Closed),
                    _ => Ok(Deregistered::NotOurs),
                });
                None
            }
            State::Registering { .. } | State::Reclaiming { .. } | State::Taken { .. } => {
                self.remove(deadline)
            }
            State::Held { key, .. } => {
                let draining = self.terms.codec.draining(key, &self.value.wanted);
                match draining.filter(|draining| !self.value.stands(draining)) {
                    None => self.remove(deadline),
                    Some(draining) => {
                        self.outcome = None;
                        self.state = State::Announcing { deadline };
                        let until = now + self.terms.deregister_timeout / ANNOUNCING_SHARE;
                        self.go(Action::Reclaim(draining), Some(until))
                    }
                }
            }
        }
    }

    // === What the registry says ===

    fn entry_stands(
        &mut self,
        key: Key,
        lease: LeaseId,
        sent: Bytes,
        now: Instant,
    ) -> Option<Action> {
        self.value.stands_now(sent);
        if let State::Announcing { deadline } = self.state {
            if self.terms.drain.is_zero() {
                return self.remove(deadline);
            }
            self.state = State::Draining {
                removal: deadline - now,
            };
            return self.go(Action::Hold, Some(now + self.terms.drain));
        }
        self.owed = true;
        self.retry.succeeded(now);
        self.retake.succeeded(now);
        self.value.settle();
        self.state = State::Held {
            key,
            lease,
            error: None,
        };
        self.hold()
    }

    fn register_failed(&mut self, error: Error, newest: bool, now: Instant) -> Option<Action> {
        let transient = error.is_transient();
        // What was not answered may have been heard.
        self.owed |= transient;
        match &mut self.state {
            State::Registering {
                attempt,
                error: last,
            } if transient => {
                *attempt += 1;
                *last = Some(error);
                let at = now + self.retry.failed(now);
                self.go(Action::Rest, Some(at))
            }
            _ if matches!(error, Error::Closed) => self.end(RegistrarStatus::Closed),
            State::Taken { retake_at, .. } => {
                *retake_at = Some(now + self.retake.failed(now));
                if newest {
                    self.value.give_up_if_hopeless(&error);
                }
                self.wait_for_key(now)
            }
            _ => self.end(RegistrarStatus::Failed(error)),
        }
    }

    fn lost(&mut self, lost: Lost, now: Instant) -> Option<Action> {
        if let State::Draining { removal } = self.state {
            return self.remove(now + removal);
        }
        match lost {
            Lost::Taken { value } => self.taken(value, now),
            Lost::Superseded => self.end(RegistrarStatus::Superseded),
            Lost::Closed => self.end(RegistrarStatus::Closed),
            Lost::Deregistered => self.end(RegistrarStatus::Deregistered(Deregistered::Removed)),
            Lost::LeaseExpired | Lost::KeyDeleted => {
                self.state = State::Reclaiming {
                    lost,
                    attempt: 1,
                    error: None,
                };
                let at = now + self.retry.failed(now);
                self.go(Action::Rest, Some(at))
            }
        }
    }

    fn taken(&mut self, value: Bytes, now: Instant) -> Option<Action> {
        let retake_at = match self.state {
            State::Announcing { deadline } => return self.remove(deadline),
            State::Taken { retake_at, .. } => retake_at,
            _ => {
                self.retry.failed(now);
                let retake = self.terms.retake;
                retake.then(|| now + self.retake.failed(now))
            }
        };
        self.state = State::Taken { value, retake_at };
        self.wait_for_key(now)
    }

    fn reclaim_failed(&mut self, error: Error, newest: bool, now: Instant) -> Option<Action> {
        if let State::Announcing { deadline } = self.state {
            return self.remove(deadline);
        }
        if matches!(error, Error::Closed) {
            return self.end(RegistrarStatus::Closed);
        }
        self.value.doubtful |= error.is_transient();
        let may_go_on = !newest || self.value.give_up_if_hopeless(&error);
        if let State::Taken { .. } = self.state {
            return self.wait_for_key(now);
        }
        if let State::Held { .. } = self.state
            && is_hopeless(&error)
            && may_go_on
        {
            return self.hold();
        }
        let delay = match error.is_transient() {
            true => self.retry.failed(now),
            false => self.retry.longest(),
        };
        match &mut self.state {
            State::Held { error: last, .. } => {
                *last = Some(error.clone());
                self.value.refuse(error, newest);
                self.go(Action::Hold, Some(now + delay))
            }
            State::Reclaiming {
                attempt,
                error: last,
                ..
            } => {
                *attempt += 1;
                *last = Some(error);
                self.go(Action::Rest, Some(now + delay))
            }
            _ => None,
        }
    }

    fn gone(&mut self, outcome: Result<Deregistered>) -> Option<Action> {
        self.owed = !matches!(outcome, Ok(Deregistered::Removed | Deregistered::NotOurs));
        self.outcome = Some(outcome.clone());
        if std::mem::take(&mut self.again) {
            self.retry.reset();
            return self.begin();
        }
        self.end(match outcome {
            Ok(outcome) => RegistrarStatus::Deregistered(outcome),
            Err(Error::Closed) => RegistrarStatus::Closed,
            Err(error) => RegistrarStatus::Failed(error),
        })
    }

    fn timer_fired(&mut self, now: Instant) -> Option<Action> {
        self.timer.take_if(|at| *at <= now)?;
        match &self.state {
            State::Registering { .. } => self.go(Action::Register(self.value.wanted.clone()), None),
            State::Reclaiming { .. } => self.go(Action::Reclaim(self.value.wanted.clone()), None),
            State::Held { .. } => self.hold(),
            State::Taken { retake_at, .. } => {
                let action = match retake_at {
                    Some(at) if *at <= now => Action::Register(self.value.wanted.clone()),
                    _ => Action::Reclaim(self.value.wanted.clone()),
                };
                self.go(action, None)
            }
            State::Announcing { deadline } => {
                let deadline = *deadline;
                self.remove(deadline)
            }
            State::Draining { removal } => {
                let deadline = now + *removal;
                self.remove(deadline)
            }
            State::Removing => self.gone(Ok(Deregistered::Unconfirmed)),
            State::Ended(_) => None,
        }
    }

    // === Where that leads ===

    fn begin(&mut self) -> Option<Action> {
        self.state = State::Registering {
            attempt: 1,
            error: None,
        };
        self.go(Action::Register(self.value.wanted.clone()), None)
    }

    /// Holds what stands, or writes what is newer.
    fn hold(&mut self) -> Option<Action> {
        if !self.value.is_written() {
            return self.go(Action::Reclaim(self.value.wanted.clone()), None);
        }
        if let State::Held { error, .. } = &mut self.state {
            *error = None;
        }
        self.go(Action::Hold, None)
    }

    fn wait_for_key(&mut self, now: Instant) -> Option<Action> {
        let look = now + self.retry.longest();
        let at = match self.state {
            State::Taken {
                retake_at: Some(at),
                ..
            } => at.min(look),
            _ => look,
        };
        self.go(Action::Rest, Some(at))
    }

    fn remove(&mut self, deadline: Instant) -> Option<Action> {
        self.outcome = None;
        self.state = State::Removing;
        self.go(Action::Deregister, Some(deadline))
    }

    fn end(&mut self, status: RegistrarStatus) -> Option<Action> {
        self.owed &= matches!(
            status,
            RegistrarStatus::Failed(_) | RegistrarStatus::Deregistered(Deregistered::Unconfirmed)
        );
        self.value.written = None;
        self.state = State::Ended(status);
        self.go(Action::Rest, None)
    }

    fn go(&mut self, action: Action, timer: Option<Instant>) -> Option<Action> {
        self.under_way = action.clone();
        self.timer = timer;
        Some(action)
    }
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenure")
            .field("state", &self.state)
            .field("under_way", &self.under_way)
            .finish_non_exhaustive()
    }
}
