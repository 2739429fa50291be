//! What an endpoint set knows of one address: the instances that have it, its endpoint, and the
//! factory that makes one.

use super::{
    rank::{Rank, rank},
    slots::{NewSlot, Slot},
};
use crate::{
    calls::{
        endpoint::Endpoint,
        run_queue::{QueuedRun, RunId},
    },
    instances::{Instance, InstanceKey},
    registry::LeaseId,
    support::Backoff,
};
use std::sync::Arc;
use tokio::time::Instant;

/// When factories run.
pub(in crate::calls::endpointer) struct FactoryRules {
    /// The pauses after failures, and between replacements.
    pub(in crate::calls::endpointer) backoff: Backoff,
    /// See [`Factory::is_per_registration`](crate::Factory::is_per_registration).
    pub(in crate::calls::endpointer) is_per_registration: bool,
}

/// The state of one address.
pub(super) struct AddressSlot<E> {
    /// In the order of their identities.
    members: Vec<Member>,
    /// The instance that speaks for the address, as it was last with this address.
    pub(super) speaker: Arc<Instance>,
    /// What callers get.
    pub(super) endpoint: Option<Arc<Endpoint<E>>>,
    /// The rank that the endpoint counts as one of. `None` if it was just made, and if there is none.
    pub(super) counts_as: Option<Rank>,
    /// The factory that waits or runs.
    pub(super) run: Option<QueuedRun>,
    /// Set after a failure, and after a target was replaced.
    pub(super) backoff: Option<Box<Backoff>>,
    /// When the endpoint's target was made.
    made_at: Option<Instant>,
    /// The registrations that the endpoint's target belongs to, if targets belong to any.
    registrations: Box<[LeaseId]>,
    /// The same of the target that is being made.
    next_registrations: Box<[LeaseId]>,
    /// Whether it is an address of the first event whose factory has had no result yet.
    pub(super) is_untried: bool,
}

/// An instance that needs the address.
struct Member {
    /// The instance as it was last with this address.
    instance: Arc<Instance>,
    /// The instance now. It has moved if it has another address, which has no endpoint yet. `None`
    /// if it needs this address no longer.
    now: Option<Arc<Instance>>,
}

impl Member {
    fn new(instance: &Arc<Instance>) -> Self {
        Self {
            instance: instance.clone(),
            now: Some(instance.clone()),
        }
    }

    /// Whether it is this instance, and has not moved.
    fn is(&self, instance: &Arc<Instance>) -> bool {
        let now = self.now.as_ref();
        Arc::ptr_eq(&self.instance, instance) && now.is_some_and(|now| Arc::ptr_eq(now, instance))
    }

    fn has_moved(&self) -> bool {
        let now = self.now.as_ref();
        now.is_none_or(|now| now.address() != self.instance.address())
    }

    /// The member with the least speaks for the address.
    fn order(&self) -> (bool, Rank, (&str, Option<&str>)) {
        let now = self.now.as_ref().unwrap_or(&self.instance);
        (self.has_moved(), rank(now), now.place())
    }
}

/// Who speaks for an address.
pub(super) struct Speaker {
    /// Of the instance as it is now.
    pub(super) rank: Rank,
    /// Nobody has the address any longer, but this instance has no endpoint at its new one yet.
    pub(super) has_moved: bool,
}

impl<E> AddressSlot<E> {
    /// The slot of an address that only `instance` has.
    fn of_one(instance: Arc<Instance>) -> Self {
        Self {
            members: vec![Member::new(&instance)],
            speaker: instance,
            endpoint: None,
            counts_as: None,
            run: None,
            backoff: None,
            made_at: None,
            registrations: Box::default(),
            next_registrations: Box::default(),
            is_untried: false,
        }
    }

    pub(super) fn of_new(new: NewSlot) -> Self {
        Self {
            run: new.run,
            is_untried: new.is_untried,
            ..Self::of_one(new.instance)
        }
    }

    pub(super) fn of_resting(endpoint: Arc<Endpoint<E>>) -> Self {
        Self {
            counts_as: Some(rank(endpoint.instance())),
            endpoint: Some(endpoint.clone()),
            ..Self::of_one(endpoint.instance().clone())
        }
    }

    /// The least form that says all of the slot.
    pub(super) fn close(mut self) -> Slot<E> {
        let has_one = self.members.len() == 1 && self.members[0].is(&self.speaker);
        // When the target was made is asked only together with the backoff.
        let is_plain = self.backoff.is_none()
            && self.registrations.is_empty()
            && self.next_registrations.is_empty();
        match self.endpoint.take() {
            None if has_one && is_plain => Slot::New(Box::new(NewSlot {
                instance: self.speaker,
                run: self.run,
                is_untried: self.is_untried,
            })),
            Some(endpoint)
                if has_one
                    && is_plain
                    && self.counts_as.is_some()
                    && self.run.is_none()
                    && Arc::ptr_eq(endpoint.instance(), &self.speaker) =>
            {
                Slot::Resting(endpoint)
            }
            endpoint => {
                self.endpoint = endpoint;
                Slot::Open(Box::new(self))
            }
        }
    }

    /// `instance` has this address.
    pub(super) fn join(&mut self, instance: &Arc<Instance>) {
        let member = Member::new(instance);
        match self.position(&instance.identity()) {
            Ok(known) => self.members[known] = member,
            Err(new) => self.members.insert(new, member),
        }
    }

    /// `instance` has moved to another address, which has no endpoint yet.
    pub(super) fn move_away(&mut self, instance: &Arc<Instance>) {
        if let Ok(known) = self.position(&instance.identity()) {
            self.members[known].now = Some(instance.clone());
        }
    }

    /// The instance needs this address no longer.
    pub(super) fn leave(&mut self, key: &InstanceKey) {
        if let Ok(known) = self.position(key) {
            self.members[known].now = None;
        }
    }

    fn position(&self, key: &InstanceKey) -> Result<usize, usize> {
        let place = (key.key(), key.part());
        self.members
            .binary_search_by(|member| member.instance.place().cmp(&place))
    }

    /// Forgets those who left, and finds out who speaks for the address. `None` if nobody needs it.
    pub(super) fn settle(&mut self) -> Option<Speaker> {
        self.members.retain(|member| member.now.is_some());
        let speaker = self.members.iter().min_by_key(|member| member.order())?;
        let (has_moved, rank, _) = speaker.order();
        self.speaker = speaker.instance.clone();
        Some(Speaker { rank, has_moved })
    }

    // === The factory ===

    /// The factory has been started.
    pub(super) fn started(&mut self, id: RunId, rules: &FactoryRules) {
        self.run = Some(QueuedRun::Running(id));
        if rules.is_per_registration {
            self.next_registrations = self.leases().cloned().collect();
        }
    }

    /// The factory has made the target of this endpoint.
    pub(super) fn made(&mut self, endpoint: Endpoint<E>, now: Instant) {
        self.run = None;
        self.registrations = std::mem::take(&mut self.next_registrations);
        if self.endpoint.is_none() {
            self.backoff = None;
        }
        self.endpoint = Some(Arc::new(endpoint));
        self.made_at = Some(now);
    }

    /// The factory has failed: returns when to try again.
    pub(super) fn retry_at(&mut self, rules: &FactoryRules, now: Instant) -> Instant {
        let first = || Box::new(rules.backoff.clone());
        now + self.backoff.get_or_insert_with(first).next_delay()
    }

    /// Whether no factory has run for the address yet.
    pub(super) fn is_first_run(&self) -> bool {
        self.endpoint.is_none() && self.backoff.is_none()
    }

    /// Takes the run that waits because keys changed too often, if another may be earlier: at `paced`.
    pub(super) fn take_paced_run(&mut self, paced: Instant) -> Option<QueuedRun> {
        let is_first = self.is_first_run();
        self.run
            .take_if(|run| is_first && matches!(run, QueuedRun::Waiting(due, _) if *due > paced))
    }

    /// When the factory is to run, if it is to and does not yet. For the first endpoint not before
    /// `paced`.
    pub(super) fn run_at(
        &mut self,
        rules: &FactoryRules,
        paced: Instant,
        now: Instant,
    ) -> Option<Instant> {
        if self.run.is_some() || self.instances().next().is_none() {
            return None;
        }
        let Some(endpoint) = &self.endpoint else {
            return Some(paced);
        };
        let is_dead = endpoint.host().needs_replacement();
        let needs_another = is_dead || rules.is_per_registration && self.is_renewed();
        needs_another.then(|| self.replace_at(&rules.backoff, now))
    }

    /// Whether somebody has registered since the endpoint's target was made.
    fn is_renewed(&self) -> bool {
        let mut leases = self.leases();
        leases.any(|lease| !self.registrations.contains(lease))
    }

    fn leases(&self) -> impl Iterator<Item = &LeaseId> {
        self.instances().filter_map(|instance| instance.lease())
    }

    /// When to make another target in place of the one that there is: at once, unless that one is
    /// young and has replaced another itself.
    fn replace_at(&mut self, backoff: &Backoff, now: Instant) -> Instant {
        let is_old = |made_at| now.saturating_duration_since(made_at) >= backoff.longest();
        if self.made_at.is_some_and(is_old) {
            self.backoff = None;
        }
        match &mut self.backoff {
            Some(backoff) => now + backoff.next_delay(),
            none => {
                *none = Some(Box::new(backoff.clone()));
                now
            }
        }
    }

    // === Members ===

    /// The instances that have the address.
    pub(super) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        let staying = self.members.iter().filter(|member| !member.has_moved());
        staying.map(|member| &member.instance)
    }
}
