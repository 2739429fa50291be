//! Whether the registry's word on removals is taken at once.
//!
//! An outage expires leases that nobody could keep alive, and a registry that was rebuilt has
//! forgotten everybody. What it says to be gone right after is mostly not gone, so it is shown
//! until the registry has been healthy for a grace period.

use crate::{
    instances::{Held, Instance, Status, Trouble},
    registry::Key,
};
use imbl::OrdMap;
use std::time::Duration;
use tokio::time::Instant;

/// Holds removals back while they are doubtful.
pub(super) struct Stabiliser {
    grace: Duration,
    state: State,
    held: OrdMap<Key, Held>,
}

enum State {
    /// Removals apply at once, and none is held. Where everything begins: there is nothing to hold.
    Settled,
    /// The registry is in trouble, for this reason at first.
    Doubtful { why: Trouble },
    /// It has been healthy since then.
    Healing { since: Instant, why: Trouble },
}

impl Stabiliser {
    /// A stabiliser that waits for `grace`, or, if it is zero, never holds anything.
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            grace,
            state: State::Settled,
            held: OrdMap::new(),
        }
    }

    /// How long the registry has to have been healthy.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// What is held.
    pub(super) fn held(&self) -> &OrdMap<Key, Held> {
        &self.held
    }

    /// There is trouble: the wait begins anew with the next health.
    pub(super) fn doubt(&mut self, why: &Trouble) {
        if !self.grace.is_zero() && !matches!(self.state, State::Doubtful { .. }) {
            self.state = State::Doubtful { why: why.clone() };
        }
    }

    /// The registry is healthy.
    pub(super) fn heal(&mut self, now: Instant) {
        if let State::Doubtful { why } = &self.state {
            self.state = State::Healing {
                since: now,
                why: why.clone(),
            };
        }
    }

    /// The registry says that `instance` is gone: `true` if it is held instead. One that has
    /// announced that it is about to go is not.
    pub(super) fn hold(&mut self, instance: &Instance, now: Instant) -> bool {
        let why = match &self.state {
            State::Settled => return false,
            State::Doubtful { why } | State::Healing { why, .. } => why,
        };
        if instance.status() == Status::Draining {
            return false;
        }
        let held = Held {
            since: now,
            why: why.clone(),
        };
        self.held.insert(instance.key().clone(), held);
        true
    }

    /// The registry has the instance again: `true` if it was held.
    pub(super) fn release(&mut self, key: &Key) -> bool {
        self.held.remove(key).is_some()
    }

    /// When the grace period ends, unless trouble comes first.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Healing { since, .. } => since.checked_add(self.grace),
            State::Settled | State::Doubtful { .. } => None,
        }
    }

    /// Ends the grace period if it is over, and gives what has to go now.
    pub(super) fn settle(&mut self, now: Instant) -> Option<OrdMap<Key, Held>> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        self.state = State::Settled;
        Some(std::mem::take(&mut self.held))
    }
}
