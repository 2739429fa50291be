//! The endpoint set: which instances are known, which of them have an endpoint, and which factory
//! runs when. A state machine without I/O; [`FactoryRuns`](super::factory_runs::FactoryRuns) runs
//! the factories.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use super::{failure_log::FailureLog, status::FactoryFailure};
use crate::{
    calls::{
        endpoint::Endpoint,
        factory::FactoryError,
        meters,
        run_queue::{QueuedRun, RunId, RunQueue},
    },
    instances::{Instance, InstanceChange, Instances, Status},
    registry::Key,
    support::Backoff,
};
use imbl::OrdMap;
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;

pub(super) struct EndpointSet<E> {
    /// The instances of the last event.
    known: Option<Instances>,
    slots: BTreeMap<Key, Slot<E>>,
    queue: RunQueue<Key>,
    backoff: Backoff,
    failures: OrdMap<Key, FactoryFailure>,
    log: FailureLog,
    /// How many slots have an endpoint.
    made: usize,
    /// How many instances of the first event still wait for their factory's first result.
    untried: usize,
    /// Whether the table has changed since it was last built.
    changed: bool,
}

/// The state of one key.
struct Slot<E> {
    instance: Arc<Instance>,
    /// What callers get. Made for the instance's address, or for its earlier address while the
    /// factory has not succeeded for the new one.
    endpoint: Option<Arc<Endpoint<E>>>,
    /// `None` if the endpoint was made for the instance's address.
    run: Option<QueuedRun>,
    /// Set after a failure.
    backoff: Option<Box<Backoff>>,
    untried: bool,
}

impl<E> EndpointSet<E> {
    /// An empty set that runs at most `limit` factories at once.
    pub(super) fn new(limit: usize, backoff: Backoff) -> Self {
        Self {
            known: None,
            slots: BTreeMap::new(),
            queue: RunQueue::new(limit),
            backoff,
            failures: OrdMap::new(),
            log: FailureLog::new(),
            made: 0,
            untried: 0,
            changed: false,
        }
    }

    /// Replaces the known instances. Returns the runs whose results are no longer needed.
    pub(super) fn apply(&mut self, instances: &Instances, now: Instant) -> Vec<RunId> {
        let first = self.known.is_none();
        let known = self.known.replace(instances.clone()).unwrap_or_default();
        let mut abandoned = Vec::new();
        for change in known.diff(instances) {
            match change {
                InstanceChange::Added(instance) => self.add(&instance, first, now),
                InstanceChange::Updated { new, .. } => {
                    abandoned.extend(self.update(&new, now));
                }
                InstanceChange::Removed(instance) => abandoned.extend(self.remove(&instance)),
            }
        }
        // Even if the table stays empty, its reason changes: from unknown to empty.
        self.changed |= first;
        self.log_all_made(now);
        abandoned
    }

    fn add(&mut self, instance: &Arc<Instance>, untried: bool, now: Instant) {
        let key = instance.key().clone();
        self.untried += usize::from(untried);
        let slot = Slot {
            instance: instance.clone(),
            endpoint: None,
            run: Some(self.queue.schedule(key.clone(), now)),
            backoff: None,
            untried,
        };
        self.slots.insert(key, slot);
    }

    fn update(&mut self, new: &Arc<Instance>, now: Instant) -> Option<RunId> {
        let Some(slot) = self.slots.get_mut(new.key()) else {
            self.add(new, false, now);
            return None;
        };
        let moved = slot.instance.address() != new.address();
        slot.instance = new.clone();
        // Can be true after a change of address: it may have changed back.
        let is_made = slot
            .endpoint
            .as_ref()
            .is_some_and(|endpoint| endpoint.address() == new.address());
        if is_made {
            let update = |old: Arc<Endpoint<E>>| Arc::new(old.with_instance(new.clone()));
            slot.endpoint = slot.endpoint.take().map(update);
        }
        // An endpoint of the earlier address is ranked by the new status too.
        self.changed |= slot.endpoint.is_some();
        if !moved {
            return None;
        }
        slot.backoff = None;
        self.failures.remove(new.key());
        let abandoned = slot.run.take().and_then(|run| self.queue.cancel(run));
        slot.run = (!is_made).then(|| self.queue.schedule(new.key().clone(), now));
        abandoned
    }

    fn remove(&mut self, instance: &Instance) -> Option<RunId> {
        let slot = self.slots.remove(instance.key())?;
        if let Some(endpoint) = &slot.endpoint
            && endpoint.address() == instance.address()
            && instance.status() != Status::Draining
        {
            endpoint.host().remove();
        }
        self.failures.remove(instance.key());
        self.untried -= usize::from(slot.untried);
        self.made -= usize::from(slot.endpoint.is_some());
        // If the table is empty, its reason may have changed.
        self.changed |= slot.endpoint.is_some() || self.made == 0;
        slot.run.and_then(|run| self.queue.cancel(run))
    }

    /// Starts a factory, if one is due and the limit allows it. Returns the run, and the instance
    /// to call the factory with.
    pub(super) fn start_run(&mut self, now: Instant) -> Option<(RunId, Arc<Instance>)> {
        let (id, key) = self.queue.start(now)?;
        let slot = self.slots.get_mut(&key)?;
        slot.run = Some(QueuedRun::Running(id));
        Some((id, slot.instance.clone()))
    }

    /// When to call [`start_run`](Self::start_run) again, unless something else happens before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.queue.wake_at()
    }

    /// Takes the result of a factory. Ignores the result of a cancelled run.
    pub(super) fn finish_run(&mut self, id: RunId, made: Result<E, FactoryError>, now: Instant) {
        let Some(key) = self.queue.finish(id) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(&key) else {
            return;
        };
        self.untried -= usize::from(slot.untried);
        slot.untried = false;
        let address = slot.instance.address();
        match made {
            Ok(target) => {
                self.failures.remove(&key);
                self.made += usize::from(slot.endpoint.is_none());
                slot.endpoint = Some(Arc::new(Endpoint::new(slot.instance.clone(), target)));
                slot.run = None;
                slot.backoff = None;
                self.changed = true;
                self.log_all_made(now);
            }
            Err(error) => {
                meters::factory_failed();
                let first = || Box::new(self.backoff.clone());
                let pause = slot.backoff.get_or_insert_with(first).next_delay();
                let before = self.failures.get(&key);
                let failing = self.failures.len() + usize::from(before.is_none());
                let failure = FactoryFailure {
                    address: address.into(),
                    attempts: before.map_or(1, |before| before.attempts.saturating_add(1)),
                    since: before.map_or(now, |before| before.since),
                    error,
                };
                self.log.failed(&key, &failure, failing, now);
                slot.run = Some(self.queue.schedule(key.clone(), now + pause));
                self.failures.insert(key, failure);
                self.changed |= self.made == 0;
            }
        }
    }

    fn log_all_made(&mut self, now: Instant) {
        if self.making() == 0 {
            self.log.all_made(self.made, now);
        }
    }

    /// Whether the table has changed since it was last built.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// Builds the table, in the order of the keys, from the endpoints of the best rank that exists:
    /// serving with a weight, serving with weight 0, draining.
    pub(super) fn table(&mut self) -> Box<[Arc<Endpoint<E>>]> {
        self.changed = false;
        let best = self.slots.values().filter_map(Slot::rank).min();
        self.slots
            .values()
            .filter(|slot| slot.rank() == best)
            .filter_map(|slot| slot.endpoint.clone())
            .collect()
    }

    /// Whether the instances are known and the factory has been tried for all of the first ones.
    pub(super) fn is_ready(&self) -> bool {
        self.known.is_some() && self.untried == 0
    }

    /// How many instances there are. `None` before the first event.
    pub(super) fn instances(&self) -> Option<usize> {
        self.known.as_ref().map(Instances::len)
    }

    /// How many instances have a factory that waits or runs.
    pub(super) fn making(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn failures(&self) -> &OrdMap<Key, FactoryFailure> {
        &self.failures
    }
}

impl<E> Slot<E> {
    /// The table holds the endpoints of the lowest rank. `None` without an endpoint.
    fn rank(&self) -> Option<u8> {
        self.endpoint.as_ref()?;
        Some(match (self.instance.status(), self.instance.weight()) {
            (Status::Serving, 1..) => 0,
            (Status::Serving, 0) => 1,
            (Status::Draining, _) => 2,
        })
    }
}
