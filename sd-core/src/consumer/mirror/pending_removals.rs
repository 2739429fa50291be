//! Removals that are held back.
//!
//! An outage expires leases that nobody could keep alive, and a registry that was rebuilt has
//! forgotten everybody. Most of what it reports as removed right after is not gone. So a removal
//! after trouble applies only when the registry has been healthy for a grace period.

use crate::{
    instances::{Held, Instance, Status, Trouble},
    registry::Key,
};
use imbl::OrdMap;
use std::time::Duration;
use tokio::time::Instant;

/// Decides whether a removal applies at once, and keeps those that have to wait.
///
/// Every rule for doubting a removal, and every bound for how long it waits, belongs here.
pub(super) struct PendingRemovals {
    grace: Duration,
    trust: Trust,
    held: OrdMap<Key, Held>,
}

/// Whether the registry is believed when it reports a removal.
enum Trust {
    /// Removals apply at once, and none is held. The initial state: there is nothing to hold.
    Full,
    /// The registry is in trouble, for this reason at first.
    Lost { why: Trouble },
    /// The registry has been healthy since then.
    Returning { since: Instant, why: Trouble },
}

impl PendingRemovals {
    /// Holds removals for `grace` after trouble; never, if it is zero.
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            grace,
            trust: Trust::Full,
            held: OrdMap::new(),
        }
    }

    /// How long the registry has to have been healthy.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// The removals that are held.
    pub(super) fn held(&self) -> &OrdMap<Key, Held> {
        &self.held
    }

    /// There is trouble: the grace period begins anew with the next answer.
    pub(super) fn doubt(&mut self, why: &Trouble) {
        if !self.grace.is_zero() && !matches!(self.trust, Trust::Lost { .. }) {
            self.trust = Trust::Lost { why: why.clone() };
        }
    }

    /// The registry has answered: the grace period begins, unless it has begun already.
    pub(super) fn answered(&mut self, now: Instant) {
        if let Trust::Lost { why } = &self.trust {
            self.trust = Trust::Returning {
                since: now,
                why: why.clone(),
            };
        }
    }

    /// The registry reports that `instance` is gone. Returns `true` if the removal is held, `false`
    /// if it applies now. An instance that has announced that it is about to go is not held.
    pub(super) fn hold(&mut self, instance: &Instance, now: Instant) -> bool {
        let why = match &self.trust {
            Trust::Full => return false,
            Trust::Lost { why } | Trust::Returning { why, .. } => why,
        };
        if instance.status() == Status::Draining {
            return false;
        }
        let held = Held::new(now, why.clone());
        self.held.insert(instance.key().clone(), held);
        true
    }

    /// The registry has the instance again. Returns `true` if its removal was held.
    pub(super) fn release(&mut self, key: &Key) -> bool {
        self.held.remove(key).is_some()
    }

    /// When the grace period ends, unless trouble comes first.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.trust {
            Trust::Returning { since, .. } => since.checked_add(self.grace),
            Trust::Full | Trust::Lost { .. } => None,
        }
    }

    /// Ends the grace period if it is over, and returns the removals that apply now.
    pub(super) fn take_due(&mut self, now: Instant) -> OrdMap<Key, Held> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return OrdMap::new();
        }
        self.trust = Trust::Full;
        std::mem::take(&mut self.held)
    }
}
