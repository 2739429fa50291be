//! The roster: which instances there are, which of them have an endpoint, and whose factory is to
//! run when. A state machine; the factories run elsewhere.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use super::FactoryFailure;
use crate::{
    calls::{endpoint::Endpoint, factory::FactoryError, meters},
    instances::{Instance, InstanceChange, Instances, Status},
    registry::Key,
    support::Backoff,
};
use imbl::OrdMap;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// A factory that has run for so long no longer counts as one of those that may run at once: a few
/// hosts that do not answer must not keep the others waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells one run of a factory from another; never used twice.
pub(super) type Ticket = u64;

/// A factory to be run.
pub(super) struct Job {
    pub(super) ticket: Ticket,
    pub(super) instance: Arc<Instance>,
}

pub(super) struct Roster<E> {
    /// What the last event said.
    known: Option<Instances>,
    seats: BTreeMap<Key, Seat<E>>,
    /// Who waits for a factory, by when it is due.
    queue: BTreeMap<(Instant, Ticket), Key>,
    running: BTreeMap<Ticket, Key>,
    /// Those of the running that count against `at_once`, the oldest first, by when they cease to.
    counted: VecDeque<(Instant, Ticket)>,
    at_once: usize,
    backoff: Backoff,
    next_ticket: Ticket,
    failures: OrdMap<Key, FactoryFailure>,
    /// How many seats have an endpoint.
    made: usize,
    /// How many instances of the first event no factory was run for yet.
    untried: usize,
    /// Whether the table is not what it was when last built.
    changed: bool,
}

/// What is known of one key.
struct Seat<E> {
    instance: Arc<Instance>,
    /// What callers get. Of the instance's address, or of an earlier one for as long as there is
    /// no other.
    endpoint: Option<Arc<Endpoint<E>>>,
    making: Making,
    backoff: Option<Box<Backoff>>,
    untried: bool,
}

#[derive(Clone, Copy)]
enum Making {
    /// The endpoint is of the instance's address.
    Done,
    Queued(Instant, Ticket),
    Running(Ticket),
}

impl<E> Roster<E> {
    pub(super) fn new(at_once: usize, backoff: Backoff) -> Self {
        Self {
            known: None,
            seats: BTreeMap::new(),
            queue: BTreeMap::new(),
            running: BTreeMap::new(),
            counted: VecDeque::new(),
            at_once: at_once.max(1),
            backoff,
            next_ticket: 0,
            failures: OrdMap::new(),
            made: 0,
            untried: 0,
            changed: false,
        }
    }

    /// Takes note of the instances there are now. Returns the runs whose results nobody waits for
    /// any more.
    pub(super) fn apply(&mut self, instances: &Instances, now: Instant) -> Vec<Ticket> {
        let first = self.known.is_none();
        let known = self.known.replace(instances.clone()).unwrap_or_default();
        let mut abandoned = Vec::new();
        for change in known.diff(instances) {
            match change {
                InstanceChange::Added(instance) => self.add(instance, first, now),
                InstanceChange::Updated { new, .. } => self.update(new, now, &mut abandoned),
                InstanceChange::Removed(instance) => self.remove(instance, &mut abandoned),
            }
        }
        // The reason for an empty table changes too, from unknown to empty.
        self.changed |= first;
        abandoned
    }

    fn add(&mut self, instance: &Arc<Instance>, untried: bool, now: Instant) {
        let key = instance.key().clone();
        self.untried += usize::from(untried);
        let seat = Seat {
            instance: instance.clone(),
            endpoint: None,
            making: self.enqueue(key.clone(), now),
            backoff: None,
            untried,
        };
        self.seats.insert(key, seat);
    }

    fn update(&mut self, new: &Arc<Instance>, now: Instant, abandoned: &mut Vec<Ticket>) {
        let Some(seat) = self.seats.get_mut(new.key()) else {
            return self.add(new, false, now);
        };
        let moved = seat.instance.address() != new.address();
        seat.instance = new.clone();
        // Also of the instance as it is now: its address may have changed back.
        let done = seat
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.address() == new.address());
        if done {
            let rewrap = |endpoint: Arc<Endpoint<E>>| Arc::new(endpoint.rewrapped(new.clone()));
            seat.endpoint = seat.endpoint.take().map(rewrap);
        }
        // Even if the endpoint is of another address, its instance's status decides on its place.
        self.changed |= seat.endpoint.is_some();
        if !moved {
            return;
        }
        let making = std::mem::replace(&mut seat.making, Making::Done);
        seat.backoff = None;
        self.failures.remove(new.key());
        self.cancel(making, abandoned);
        if !done {
            let making = self.enqueue(new.key().clone(), now);
            if let Some(seat) = self.seats.get_mut(new.key()) {
                seat.making = making;
            }
        }
    }

    fn remove(&mut self, instance: &Instance, abandoned: &mut Vec<Ticket>) {
        let Some(seat) = self.seats.remove(instance.key()) else {
            return;
        };
        self.failures.remove(instance.key());
        self.untried -= usize::from(seat.untried);
        self.made -= usize::from(seat.endpoint.is_some());
        // Where there is nothing to pick, the reason may be another now.
        self.changed |= seat.endpoint.is_some() || self.made == 0;
        self.cancel(seat.making, abandoned);
    }

    fn enqueue(&mut self, key: Key, due: Instant) -> Making {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue.insert((due, ticket), key);
        Making::Queued(due, ticket)
    }

    fn cancel(&mut self, making: Making, abandoned: &mut Vec<Ticket>) {
        match making {
            Making::Done => {}
            Making::Queued(due, ticket) => {
                self.queue.remove(&(due, ticket));
            }
            Making::Running(ticket) => {
                self.forget_run(ticket);
                abandoned.push(ticket);
            }
        }
    }

    /// The key that `ticket` was drawn for, unless the run was abandoned.
    fn forget_run(&mut self, ticket: Ticket) -> Option<Key> {
        let key = self.running.remove(&ticket)?;
        self.counted.retain(|(_, counted)| *counted != ticket);
        Some(key)
    }

    /// A factory to be started now, if one is due and there is room for it.
    pub(super) fn next_job(&mut self, now: Instant) -> Option<Job> {
        while self.counted.front().is_some_and(|(until, _)| *until <= now) {
            self.counted.pop_front();
        }
        if self.counted.len() >= self.at_once {
            return None;
        }
        let first = self.queue.first_entry()?;
        let (due, ticket) = *first.key();
        if due > now {
            return None;
        }
        let key = first.remove();
        let seat = self.seats.get_mut(&key)?;
        seat.making = Making::Running(ticket);
        self.running.insert(ticket, key);
        self.counted.push_back((now + PATIENCE, ticket));
        Some(Job {
            ticket,
            instance: seat.instance.clone(),
        })
    }

    /// When [`next_job`](Self::next_job) may have one without anything else happening before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let ((due, _), _) = self.queue.first_key_value()?;
        if self.counted.len() < self.at_once {
            return Some(*due);
        }
        let room = self.counted.front().map(|(until, _)| *until);
        room.map(|room| room.max(*due))
    }

    /// Takes note of what a factory made. Of an abandoned run, that is nothing.
    pub(super) fn finished(&mut self, ticket: Ticket, made: Result<E, FactoryError>, now: Instant) {
        let Some(key) = self.forget_run(ticket) else {
            return;
        };
        let Some(seat) = self.seats.get_mut(&key) else {
            return;
        };
        self.untried -= usize::from(seat.untried);
        seat.untried = false;
        let address = seat.instance.address();
        match made {
            Ok(target) => {
                if let Some(failure) = self.failures.remove(&key) {
                    let attempts = failure.attempts + 1;
                    tracing::info!(%key, address, attempts, "endpoint made");
                }
                self.made += usize::from(seat.endpoint.is_none());
                seat.endpoint = Some(Arc::new(Endpoint::new(seat.instance.clone(), target)));
                seat.making = Making::Done;
                seat.backoff = None;
                self.changed = true;
            }
            Err(error) => {
                meters::factory_failed();
                let backoff = seat
                    .backoff
                    .get_or_insert_with(|| Box::new(self.backoff.clone()));
                // Endless, as it is built without a number of times.
                let pause = backoff.next_delay();
                let before = self.failures.get(&key);
                if before.is_none() {
                    tracing::warn!(%key, address, %error, ?pause, "endpoint cannot be made, trying on");
                }
                let failure = FactoryFailure {
                    address: address.into(),
                    attempts: before.map_or(1, |before| before.attempts.saturating_add(1)),
                    since: before.map_or(now, |before| before.since),
                    error,
                };
                self.failures.insert(key.clone(), failure);
                self.changed |= self.made == 0;
                let making = self.enqueue(key.clone(), now + pause);
                if let Some(seat) = self.seats.get_mut(&key) {
                    seat.making = making;
                }
            }
        }
    }

    /// Whether the table would not be the one built last.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// The endpoints to pick from, in the order of their keys: those of instances that take calls;
    /// if there are none, of those that would rather not (weight 0); if there are none either, of
    /// those that are draining.
    pub(super) fn table(&mut self) -> Box<[Arc<Endpoint<E>>]> {
        self.changed = false;
        let best = self.seats.values().filter_map(Seat::rank).min();
        self.seats
            .values()
            .filter(|seat| seat.rank() == best)
            .filter_map(|seat| seat.endpoint.clone())
            .collect()
    }

    /// Whether the instances are known and the factories of the first ones have all been tried.
    pub(super) fn is_ready(&self) -> bool {
        self.known.is_some() && self.untried == 0
    }

    /// Whether it is known which instances there are.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    pub(super) fn instances(&self) -> usize {
        self.seats.len()
    }

    /// The instances whose factories wait or run.
    pub(super) fn making(&self) -> usize {
        self.queue.len() + self.running.len()
    }

    pub(super) fn failures(&self) -> &OrdMap<Key, FactoryFailure> {
        &self.failures
    }
}

impl<E> Seat<E> {
    /// Who comes first; `None` without an endpoint.
    fn rank(&self) -> Option<u8> {
        self.endpoint.as_ref()?;
        Some(match (self.instance.status(), self.instance.weight()) {
            (Status::Serving, 1..) => 0,
            (Status::Serving, 0) => 1,
            (Status::Draining, _) => 2,
        })
    }
}
