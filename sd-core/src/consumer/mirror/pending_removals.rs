//! Removals that are held back.
//!
//! An outage expires leases that nobody could keep alive, and a registry that was rebuilt has
//! forgotten everybody. Most of what it reports as removed right after is not gone. So a removal
//! after trouble applies only when the registry has been healthy for a grace period. Many removals
//! at once are doubted without any trouble: the providers may have been cut off from the registry.
//!
//! # What is held
//! After trouble, what was there before it: an instance that came later and went again was seen by a
//! registry that answered. Of many removals at once, no more than there were at once within the grace
//! period. So whoever puts and deletes keys in a loop makes no phantoms of them. And an instance whose entry is there
//! but can no longer be read.
//!
//! # When a held removal applies
//! Only while the registry answers, and
//! - when the registry has been healthy for the grace period, and, if it is one of many, that long
//!   after it was reported as well;
//! - at the latest when the registry has answered for two grace periods since the removal was
//!   reported, in parts: trouble that recurs for ever must not show what is gone for ever.
//!
//! A silence that is too short to cost a lease starts no grace period.

use super::loss_window::{Loss, LossWindow};
use crate::{
    instances::{Held, InstanceKey, Instances, Trouble},
    registry::Ttl,
};
use imbl::OrdMap;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// A held removal applies when the registry has answered for so many grace periods since.
const MOST_GRACES: u32 = 2;

/// When removals are doubted.
#[derive(Debug, Clone, Copy)]
pub(in crate::consumer) struct RemovalRules {
    /// How long the registry has to have been healthy before a removal is believed. Zero doubts none.
    pub(in crate::consumer) grace: Duration,
    /// Removals of more than this share of the instances within the grace period are many at once.
    pub(in crate::consumer) mass_percent: u8,
    /// The shortest time to live that a provider may have. A lease is kept alive every third of it,
    /// so that a registry that was silent for less than two thirds has cost nobody a lease.
    pub(in crate::consumer) shortest_ttl: Ttl,
}

impl Default for RemovalRules {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(15),
            mass_percent: 50,
            shortest_ttl: Ttl::MIN,
        }
    }
}

/// Decides whether a removal applies at once, and keeps those that have to wait.
///
/// Every rule for doubting a removal, and every bound for how long it waits, belongs here.
pub(super) struct PendingRemovals {
    grace: Duration,
    /// A silence shorter than this has cost no lease.
    harmless_silence: Duration,
    trust: Trust,
    /// What was shown when the trouble began that trust is not full for.
    before: Instances,
    answering: AnsweringTime,
    window: LossWindow,
    held: OrdMap<InstanceKey, Held>,
    waits: HashMap<InstanceKey, Wait>,
    /// No wait ends before this. Early at most: a removal that is not held any more may count.
    next_wait: Wait,
}

/// Whether the registry is believed when it reports a removal.
enum Trust {
    /// Single removals apply at once. The initial state.
    Full,
    /// The registry is in trouble, for this reason at first.
    Lost {
        why: Trouble,
        /// How it began, as long as there was nothing but silence.
        silence: Option<Silence>,
    },
    /// The registry answers again, and is believed when it has answered for `until` in all.
    Returning { until: Duration, why: Trouble },
}

struct Silence {
    since: Instant,
    /// What trust there was before it.
    before: Box<Trust>,
}

/// When a held removal applies, in terms of [`AnsweringTime`].
#[derive(Clone, Copy)]
struct Wait {
    /// Then at the earliest, and not before the registry is fully trusted.
    earliest: Duration,
    /// Then, trusted or not.
    latest: Duration,
}

impl Wait {
    const NONE: Self = Self {
        earliest: Duration::MAX,
        latest: Duration::MAX,
    };

    fn end(self, trusted_from: Duration) -> Duration {
        self.earliest.max(trusted_from).min(self.latest)
    }
}

/// For how long the registry has answered in all.
struct AnsweringTime {
    before: Duration,
    since: Option<Instant>,
}

impl AnsweringTime {
    fn at(&self, now: Instant) -> Duration {
        let since = self.since.unwrap_or(now);
        self.before
            .saturating_add(now.saturating_duration_since(since))
    }

    fn start(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    fn stop(&mut self, now: Instant) {
        self.before = self.at(now);
        self.since = None;
    }

    /// When [`at`](Self::at) will be `total`, unless the time stops.
    fn when(&self, total: Duration) -> Option<Instant> {
        self.since?.checked_add(total.saturating_sub(self.before))
    }
}

impl PendingRemovals {
    /// Holds none yet.
    pub(super) fn new(rules: RemovalRules) -> Self {
        let RemovalRules {
            grace,
            mass_percent,
            shortest_ttl,
        } = rules;
        Self {
            grace,
            harmless_silence: shortest_ttl.keep_alive_interval() * 2,
            trust: Trust::Full,
            before: Instances::default(),
            answering: AnsweringTime {
                before: Duration::ZERO,
                since: None,
            },
            window: LossWindow::new(grace, mass_percent),
            held: OrdMap::new(),
            waits: HashMap::new(),
            next_wait: Wait::NONE,
        }
    }

    /// How long the registry has to have been healthy.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// The removals that are held.
    pub(super) fn held(&self) -> &OrdMap<InstanceKey, Held> {
        &self.held
    }

    // === The registry ===

    /// There is trouble. If it is no more than a silence, `silent_since` says since when.
    ///
    /// The grace period begins anew with the next answer, unless that ends a harmless silence. Until it
    /// is over, removals of what is `shown` are doubted.
    pub(super) fn doubt(
        &mut self,
        why: &Trouble,
        silent_since: Option<Instant>,
        shown: &Instances,
        now: Instant,
    ) {
        self.answering.stop(now);
        if let Trust::Lost { silence, .. } = &mut self.trust {
            if silent_since.is_none() {
                *silence = None;
            }
            return;
        }
        self.before = shown.clone();
        let before = std::mem::replace(&mut self.trust, Trust::Full);
        self.trust = Trust::Lost {
            why: why.clone(),
            silence: silent_since.map(|since| Silence {
                since,
                before: Box::new(before),
            }),
        };
    }

    /// The registry has answered: the grace period begins, unless it has begun already.
    pub(super) fn answered(&mut self, now: Instant) {
        self.answering.start(now);
        self.trust = match std::mem::replace(&mut self.trust, Trust::Full) {
            Trust::Lost {
                silence: Some(Silence { since, before }),
                ..
            } if now.saturating_duration_since(since) < self.harmless_silence => *before,
            Trust::Lost { why, .. } => Trust::Returning {
                until: self.answering.at(now).saturating_add(self.grace),
                why,
            },
            trust => trust,
        };
        if matches!(self.trust, Trust::Full) {
            self.before = Instances::default();
        }
    }

    // === Removals ===

    /// The instance under `key`, which had announced that it is about to go, is gone.
    pub(super) fn announced(&mut self, key: &InstanceKey, now: Instant) {
        self.window.announced(key, now);
    }

    /// The registry reports that `leaving` are gone, so that `left` others are left that it has.
    /// Holds the removals that are doubted and leaves those that apply now in `leaving`. Returns the
    /// loss if there is doubt because of their number.
    pub(super) fn hold(
        &mut self,
        leaving: &mut BTreeSet<InstanceKey>,
        left: usize,
        now: Instant,
    ) -> Option<Loss> {
        let loss = self.window.many(left, now);
        let loss = loss.filter(|_| !self.grace.is_zero() && !leaving.is_empty());
        self.window.record(left, now);
        let many = |Loss { removed, of }| Trouble::ManyRemoved { removed, of };
        let why = match &self.trust {
            _ if self.grace.is_zero() => None,
            Trust::Full => loss.map(many),
            Trust::Lost { why, .. } | Trust::Returning { why, .. } => Some(why.clone()),
        };
        let why = why?;
        let since = self.answering.at(now);
        let wait = Wait {
            earliest: match loss {
                Some(_) => since.saturating_add(self.grace),
                None => since,
            },
            latest: since.saturating_add(self.grace.saturating_mul(MOST_GRACES)),
        };
        let most = loss.map_or(0, |Loss { of, .. }| of);
        leaving.retain(|key| {
            let is_held = self.before.get(key).is_some() || self.held.len() < most;
            if is_held {
                self.held.insert(key.clone(), Held::new(now, why.clone()));
                self.waits.insert(key.clone(), wait);
                self.note(wait);
            }
            !is_held
        });
        loss
    }

    /// The entry of the instance is there and can no longer be read. Its provider may be well: the entry was written
    /// by a newer release perhaps, or by a wrong hand. Returns `false` if it was held before.
    pub(super) fn hold_unreadable(&mut self, identity: &InstanceKey, now: Instant) -> bool {
        if self.held.contains_key(identity) {
            return false;
        }
        let earliest = self.answering.at(now).saturating_add(self.grace);
        let wait = Wait {
            earliest,
            latest: earliest.saturating_add(self.grace),
        };
        let held = Held::new(now, Trouble::Unreadable);
        self.held.insert(identity.clone(), held);
        self.waits.insert(identity.clone(), wait);
        self.note(wait);
        true
    }

    /// Whether nothing is held, and nothing went that may have been part of a loss.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.window.is_empty()
    }

    /// The registry has the instance, perhaps again. Returns `true` if its removal was held.
    pub(super) fn release(&mut self, key: &InstanceKey, now: Instant) -> bool {
        self.window.present(key, now);
        if self.held.is_empty() {
            return false;
        }
        self.waits.remove(key);
        self.held.remove(key).is_some()
    }

    fn note(&mut self, wait: Wait) {
        let next = &mut self.next_wait;
        next.earliest = next.earliest.min(wait.earliest);
        next.latest = next.latest.min(wait.latest);
    }

    /// When [`take_due`](Self::take_due) may have something to do, unless trouble comes first.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let wait = self.next_wait.end(self.trusted_from());
        match self.trust {
            Trust::Lost { .. } => None,
            Trust::Full if self.held.is_empty() => None,
            Trust::Full => self.answering.when(wait),
            Trust::Returning { until, .. } => self.answering.when(until.min(wait)),
        }
    }

    /// Ends the grace period if it is over, and returns the removals that apply now.
    pub(super) fn take_due(&mut self, now: Instant) -> OrdMap<InstanceKey, Held> {
        let mut due = OrdMap::new();
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return due;
        }
        let total = self.answering.at(now);
        if matches!(self.trust, Trust::Returning { until, .. } if until <= total) {
            self.trust = Trust::Full;
            self.before = Instances::default();
        }
        let trusted_from = self.trusted_from();
        self.next_wait = Wait::NONE;
        for (key, wait) in std::mem::take(&mut self.waits) {
            if wait.end(trusted_from) > total {
                self.note(wait);
                self.waits.insert(key, wait);
            } else if let Some(held) = self.held.remove(&key) {
                due.insert(key, held);
            }
        }
        due
    }

    fn trusted_from(&self) -> Duration {
        match self.trust {
            Trust::Full => Duration::ZERO,
            Trust::Lost { .. } => Duration::MAX,
            Trust::Returning { until, .. } => until,
        }
    }
}
