//! The state machine of a registration.
//!
//! A provider asks one thing of its registry at a time: an [`Action`]. [`RegistrationState`] takes
//! each [`Input`] and answers with the action that replaces the current one, if any. It does no I/O
//! itself, so that tests can try every order of events without a runtime.
//!
//! An update may belong under another key. It is registered there first, while the entry under the former key
//! stands; only then is that one ended. Until it is registered, whatever is lost is put back in place.
//!
//! After [`Input::Deregister`] nothing is put but the announcement of draining, and after
//! [`Action::Deregister`] nothing at all, until the owner asks to register again.

mod action;
mod answers;
#[cfg(test)]
mod model;
mod options;
mod phase;
mod removal;
mod retry_backoff;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use action::{Action, Input};
pub(crate) use options::Options;

use super::{
    key_value::KeyValue,
    status::{RegistrarStatus, Updated},
};
use crate::{
    instances::Edit,
    registry::{Deregistered, Error, Generation, Key, Result, ServiceKey},
};
use bytes::Bytes;
use phase::Phase;
use removal::Removal;
use retry_backoff::RetryBackoff;
use std::fmt;
use tokio::time::Instant;
use value::Value;

/// How many times slower than other attempts a key is retaken from somebody who retakes it too.
const RETAKE_SLOWER: u32 = 75;

/// The state of one registration.
pub(crate) struct RegistrationState {
    options: Options,
    phase: Phase,
    /// The current action.
    action: Action,
    timer: Option<Instant>,
    retry: RetryBackoff,
    retake: RetryBackoff,
    value: Value,
    /// The outcome of the last deregistration.
    removed: Option<Result<Deregistered>>,
    /// The key of the newest registration, until its entry has been removed.
    key: Option<Key>,
    /// What took the key, if it is to be removed with the registration: our own instance, with another
    /// weight or status.
    unleased_edit: Option<Bytes>,
    /// The keys under which the client may hold an entry of this registration.
    may_hold: Vec<ServiceKey>,
    /// Whether to register again after the deregistration.
    register_next: bool,
    /// The generation that the owner has asked for last.
    wanted_generation: Generation,
    /// The generation of the last [`Action::Register`].
    generation: Generation,
}

impl RegistrationState {
    /// The state before the first registration of `wanted`.
    pub(crate) fn new(options: Options, wanted: KeyValue) -> Self {
        let (min, max) = options.backoff;
        // Before the owner has asked for one.
        let generation = Generation::new();
        Self {
            retry: RetryBackoff::new(min, max),
            retake: RetryBackoff::new(min, max.saturating_mul(RETAKE_SLOWER)),
            options,
            phase: Phase::Ended(RegistrarStatus::Idle),
            action: Action::Idle,
            timer: None,
            value: Value::new(wanted),
            removed: None,
            key: None,
            unleased_edit: None,
            may_hold: Vec::new(),
            register_next: false,
            wanted_generation: generation,
            generation,
        }
    }

    /// The current action.
    pub(crate) fn action(&self) -> &Action {
        &self.action
    }

    /// What [`Action::Deregister`] has to remove too if it stands without a lease.
    pub(crate) fn unleased_edit(&self) -> Option<&Bytes> {
        self.unleased_edit.as_ref()
    }

    /// The generation in which [`Action::Register`] registers.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// When to send [`Input::TimerFired`], unless another input comes first.
    pub(crate) fn timer(&self) -> Option<Instant> {
        self.timer
    }

    /// Whether the client may hold an entry that is not the one that is kept.
    pub(crate) fn has_former(&self) -> bool {
        self.former().next().is_some()
    }

    /// Whether nothing is left to do until the owner asks for something.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// The status to publish.
    pub(crate) fn status(&self) -> RegistrarStatus {
        self.phase.status(self.value.edit())
    }

    /// The answer to calls that register; `None` while it is open.
    pub(crate) fn register_result(&self) -> Option<Result<()>> {
        match &self.phase {
            Phase::Registered { .. } => Some(Ok(())),
            Phase::Registering { .. } | Phase::Reclaiming { .. } | Phase::Taken { .. } => None,
            Phase::Removing(_) => (!self.register_next).then_some(Err(Error::Closed)),
            Phase::Ended(RegistrarStatus::Failed(error)) => Some(Err(error.clone())),
            Phase::Ended(RegistrarStatus::Superseded) => Some(Err(Error::Superseded)),
            Phase::Ended(_) => Some(Err(Error::Closed)),
        }
    }

    /// The answer to the call that brought the newest value; `None` while it is open.
    pub(crate) fn update_result(&self) -> Option<Result<Updated>> {
        match (&self.value.refused, &self.phase) {
            (Some(error), _) => Some(Err(error.clone())),
            (None, Phase::Registered { .. }) => {
                let is_ending = matches!(self.action, Action::EndFormer(_));
                let is_done = self.value.is_written() && !is_ending;
                is_done.then_some(Ok(Updated::Written))
            }
            (None, _) => Some(Ok(Updated::Remembered)),
        }
    }

    /// The answer to calls that deregister; `None` while it is open.
    pub(crate) fn deregister_result(&self) -> Option<Result<Deregistered>> {
        self.removed.clone()
    }

    /// Takes `input` into account. Returns the action that replaces the current one, or `None` if
    /// the current one goes on. Ignores a completion of anything but the current action.
    pub(crate) fn on(&mut self, input: Input, now: Instant) -> Option<Action> {
        match (input, &self.action) {
            (Input::Register(generation), _) => self.register(generation),
            (Input::Update { wanted, said }, _) => self.update(wanted, &said),
            (Input::Deregister, _) => self.deregister(now),
            (Input::DeregisterNow, _) => self.deregister_now(now),
            (Input::TimerFired, _) => self.timer_fired(now),
            (Input::Registered { key, lease }, Action::Register(sent)) => {
                let sent = sent.clone();
                self.registered(key, lease, sent, now)
            }
            (Input::Reclaimed { key, lease }, Action::Reclaim(sent)) => {
                let sent = self.value.in_place().with_value(sent.clone());
                self.registered(key, lease, sent, now)
            }
            (Input::RegisterFailed(error), Action::Register(sent)) => {
                let sent = sent.clone();
                self.register_failed(error, sent, now)
            }
            (Input::Taken { value }, Action::Reclaim(_)) => self.taken(value, now),
            (Input::ReclaimFailed(error), Action::Reclaim(sent)) => {
                let newest = !self.value.moves() && *sent == self.value.wanted.value;
                self.reclaim_failed(error, newest, now)
            }
            (Input::Lost(lost), Action::AwaitLoss) => self.lost(lost, now),
            (Input::FormerEnded(outcome), Action::EndFormer(ended)) => {
                let ended = ended.clone();
                self.former_ended(&ended, &outcome, now)
            }
            (Input::Deregistered(outcome), Action::Deregister(_)) => {
                self.deregistered(outcome, now)
            }
            _ => None,
        }
    }

    /// Ends with `status`, whatever was going on, since the task that carries the actions out has
    /// ended. Calls that deregister are answered with `removed`. The client may still hold the
    /// entry. Does nothing if all was done.
    pub(crate) fn abort(&mut self, status: RegistrarStatus, removed: Result<Deregistered>) {
        if !self.has_ended() {
            self.note_attempt();
            self.register_next = false;
            self.removed = Some(removed);
            self.end(status);
        }
    }

    // === Requests of the owner ===

    fn register(&mut self, generation: Generation) -> Option<Action> {
        self.wanted_generation = generation;
        match &self.phase {
            Phase::Ended(_) => self.begin_registering(),
            // The owner asks for the key, so it is taken over as by a first registration.
            Phase::Taken { .. } => {
                if !matches!(self.action, Action::Register(_)) {
                    return self.begin_registering();
                }
                self.phase = Phase::first_attempt();
                None
            }
            Phase::Removing(step) => {
                self.register_next = true;
                match *step {
                    Removal::Removed { outcome } => self.end_removal(Ok(outcome)),
                    _ => None,
                }
            }
            Phase::Registering { .. } | Phase::Registered { .. } | Phase::Reclaiming { .. } => None,
        }
    }

    fn update(&mut self, own: KeyValue, said: &[Edit]) -> Option<Action> {
        let wanted = match self.value.own() {
            Some(before) => {
                let edited = &self.value.wanted;
                let format = &self.options.format;
                format.rebase(before, edited, own.clone(), said)
            }
            None => own.clone(),
        };
        self.value.want(own, wanted);
        match &self.phase {
            // After a failure the newer value waits as long as the one before.
            Phase::Registered { error, .. }
                if self.action == Action::AwaitLoss
                    && (self.timer.is_none() || error.is_none()) =>
            {
                self.write()
            }
            _ => None,
        }
    }

    // === The timer ===

    fn timer_fired(&mut self, now: Instant) -> Option<Action> {
        self.timer.take_if(|at| *at <= now)?;
        match self.phase {
            Phase::Registering { .. } => self.put(self.value.wanted.clone()),
            Phase::Reclaiming { .. } => self.reclaim(),
            Phase::Registered { .. } if matches!(self.action, Action::EndFormer(_)) => {
                self.former_ended(&[], &Ok(Deregistered::Unconfirmed), now)
            }
            Phase::Registered { .. } => self.keep(now),
            Phase::Taken { retake_at, .. } => match retake_at {
                Some(at) if at <= now => self.put(self.value.in_place().clone()),
                _ => self.reclaim(),
            },
            Phase::Removing(step) => self.next_removal_step(step, now),
            Phase::Ended(_) => None,
        }
    }

    // === What follows ===

    fn begin_registering(&mut self) -> Option<Action> {
        if let Err(invalid) = self.options.format.check(&self.value.wanted) {
            return self.end(RegistrarStatus::Failed(invalid.into()));
        }
        self.retry.reset();
        self.phase = Phase::first_attempt();
        self.put(self.value.wanted.clone())
    }

    /// Registers in the generation that the owner has asked for last.
    fn put(&mut self, it: KeyValue) -> Option<Action> {
        self.generation = self.wanted_generation;
        self.begin(Action::Register(it), None)
    }

    /// Puts the entry back, or changes its value, under the key that it has.
    fn reclaim(&mut self) -> Option<Action> {
        let value = self.value.in_place().value.clone();
        self.begin(Action::Reclaim(value), None)
    }

    /// A registration of a newer generation has the key. Takes it over if the owner has asked again
    /// meanwhile.
    fn superseded(&mut self) -> Option<Action> {
        if self.generation < self.wanted_generation {
            self.value.end();
            return self.begin_registering();
        }
        self.end(RegistrarStatus::Superseded)
    }

    /// Ends what is left under former keys, writes the newer value, or waits for a loss.
    fn keep(&mut self, now: Instant) -> Option<Action> {
        // Not what is about to be registered again.
        let former: Vec<_> = self
            .former()
            .filter(|key| **key != self.value.wanted.key)
            .cloned()
            .collect();
        if !former.is_empty() {
            let until = now + self.options.deregister_timeout;
            return self.begin(Action::EndFormer(former), Some(until));
        }
        self.write().or_else(|| self.begin(Action::AwaitLoss, None))
    }

    /// Writes the newer value, if there is one: in place, or under its own key.
    fn write(&mut self) -> Option<Action> {
        if !self.value.is_written() {
            return match self.value.moves() {
                true => self.put(self.value.wanted.clone()),
                false => self.reclaim(),
            };
        }
        if let Phase::Registered { error, .. } = &mut self.phase {
            *error = None;
        }
        None
    }

    /// The keys, apart from that of the registration, under which the client may hold an entry.
    fn former(&self) -> impl Iterator<Item = &ServiceKey> {
        let held = self.value.written_key();
        self.may_hold.iter().filter(move |key| Some(*key) != held)
    }

    /// The client may hold an entry under `key`.
    fn may_hold(&mut self, key: &ServiceKey) {
        if !self.may_hold.contains(key) {
            self.may_hold.push(key.clone());
        }
    }

    /// An attempt to register that is given up may take effect.
    fn note_attempt(&mut self) {
        if let Action::Register(sent) = &self.action {
            let key = sent.key.clone();
            self.may_hold(&key);
        }
    }

    fn wait_for_key(&mut self, now: Instant) -> Option<Action> {
        let next_look = now + self.retry.longest();
        let at = match self.phase {
            Phase::Taken {
                retake_at: Some(at),
                ..
            } => at.min(next_look),
            _ => next_look,
        };
        self.begin(Action::Idle, Some(at))
    }

    fn end(&mut self, status: RegistrarStatus) -> Option<Action> {
        let may_be_left = matches!(
            status,
            RegistrarStatus::Failed(_)
                | RegistrarStatus::Superseded
                | RegistrarStatus::RuntimeEnded
                | RegistrarStatus::Deregistered(Deregistered::Unconfirmed)
        );
        if !may_be_left {
            self.may_hold.clear();
        }
        self.value.end();
        self.phase = Phase::Ended(status);
        self.begin(Action::Idle, None)
    }

    fn begin(&mut self, action: Action, timer: Option<Instant>) -> Option<Action> {
        self.action = action.clone();
        self.timer = timer;
        Some(action)
    }
}

impl fmt::Debug for RegistrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationState")
            .field("phase", &self.phase)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}
