//! The endpoint set: which instances are known, which addresses they have, which of these have an
//! endpoint, and which factory runs when. A state machine without I/O;
//! [`FactoryRuns`](super::factory_runs::FactoryRuns) runs the factories.

mod address_pace;
mod address_slot;
mod edits;
#[cfg(test)]
mod model;
mod rank;
mod slots;
#[cfg(test)]
mod tests;

use super::{address::Address, failure_log::FailureLog, status::FactoryFailure};
use crate::{
    calls::{
        endpoint::Endpoint,
        factory::FactoryError,
        host::Host,
        meters,
        replacements::Replacements,
        run_queue::{RunId, RunQueue},
        table_writer::TableUpdate,
    },
    instances::{Instance, InstanceChange, InstanceKey, Instances, Status},
    support::LineQuota,
};
use address_pace::AddressPace;
pub(super) use address_slot::FactoryRules;
use address_slot::Speaker;
use edits::{Edits, most_rows};
use imbl::OrdMap;
use rank::{Rank, RankCounts, rank};
use slots::Slots;
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;

pub(super) struct EndpointSet<E> {
    /// The instances of the last event.
    known: Option<Instances>,
    slots: Slots<E>,
    /// The instances that have moved to an address without an endpoint, each with the address whose
    /// endpoint is kept for it.
    kept_at: BTreeMap<InstanceKey, Address>,
    /// How many slots have an endpoint.
    endpoints: RankCounts,
    queue: RunQueue<Address>,
    rules: FactoryRules,
    pace: AddressPace,
    /// Where the hosts ask for other targets.
    replacements: Arc<Replacements>,
    failures: OrdMap<Address, FactoryFailure>,
    log: FailureLog,
    /// How many addresses of the first event still wait for their factory's first result.
    untried: usize,
    /// Whether the table has changed since it was last built.
    changed: bool,
    /// The rank of the endpoints in the table that was last built; `None` if it has none.
    shown: Option<Rank>,
    edits: Edits,
}

/// The addresses whose slots have changed, in any order, and whether all instances that left one were removed
/// unannounced.
type Affected = Vec<(Address, bool)>;

impl<E> EndpointSet<E> {
    /// An empty set that runs at most `limit` factories at once. What it makes asks
    /// `replacements` for other targets.
    pub(super) fn new(limit: usize, rules: FactoryRules, replacements: Arc<Replacements>) -> Self {
        Self {
            known: None,
            slots: Slots::new(),
            kept_at: BTreeMap::new(),
            endpoints: RankCounts::default(),
            queue: RunQueue::new(limit),
            rules,
            pace: AddressPace::new(),
            replacements,
            failures: OrdMap::new(),
            log: FailureLog::new(),
            untried: 0,
            changed: false,
            shown: None,
            edits: Edits::default(),
        }
    }

    /// Replaces the known instances. Returns the runs whose results are no longer needed.
    pub(super) fn apply(&mut self, instances: &Instances, now: Instant) -> Vec<RunId> {
        let first = self.known.is_none();
        let known = self.known.replace(instances.clone()).unwrap_or_default();
        let mut affected = Affected::new();
        for change in known.diff(instances) {
            match change {
                InstanceChange::Added(new) => self.join(&new, first, &mut affected),
                InstanceChange::Updated { old, new } => self.update(&old, &new, &mut affected),
                InstanceChange::Removed(old) => self.remove(&old, &mut affected),
            }
        }
        let is_same = affected.is_empty() && !first;
        // After all changes: an address that one instance leaves and another takes stays.
        let abandoned = self.settle(affected, now);
        // Even if the table stays empty, its reason may change.
        self.changed |= self.endpoints.is_empty() && !is_same;
        self.log_all_made(now);
        abandoned
    }

    fn join(&mut self, instance: &Arc<Instance>, is_untried: bool, affected: &mut Affected) {
        let joined = self
            .slots
            .change(instance.address(), |slot| slot.join(instance));
        if joined.is_none() {
            self.untried += usize::from(is_untried);
            self.slots.add(instance, is_untried);
        }
        affected.push((Address::of(instance), true));
    }

    fn leave(&mut self, address: &str, key: &InstanceKey, is_gone: bool, affected: &mut Affected) {
        let left = self.slots.change(address, |slot| {
            slot.leave(key);
            Address::of(&slot.speaker)
        });
        affected.extend(left.map(|address| (address, is_gone)));
    }

    fn update(&mut self, old: &Arc<Instance>, new: &Arc<Instance>, affected: &mut Affected) {
        let key = &new.identity();
        let mut kept_at = self.kept_at.remove(key);
        if old.address() != new.address() {
            if self.slots.endpoint(old.address()).is_some() {
                kept_at = Some(Address::of(old));
            } else {
                self.leave(old.address(), key, false, affected);
            }
        }
        if let Some(kept_at) = kept_at {
            if self.slots.endpoint(new.address()).is_none() {
                self.keep(kept_at, new, affected);
            } else if *kept_at != *new.address() {
                self.leave(&kept_at, key, false, affected);
            }
        }
        self.join(new, false, affected);
    }

    /// Keeps the endpoint of an address for an instance that has moved to another.
    fn keep(&mut self, address: Address, moved: &Arc<Instance>, affected: &mut Affected) {
        let kept = self.slots.change(&address, |slot| slot.move_away(moved));
        if kept.is_some() {
            affected.push((address.clone(), true));
            self.kept_at.insert(moved.identity(), address);
        }
    }

    fn remove(&mut self, old: &Instance, affected: &mut Affected) {
        let is_gone = old.status() != Status::Draining;
        let key = old.identity();
        self.leave(old.address(), &key, is_gone, affected);
        if let Some(kept_at) = self.kept_at.remove(&key) {
            self.leave(&kept_at, &key, false, affected);
        }
    }

    /// Finds out who speaks for the affected addresses, makes what they lack, and drops those that
    /// nobody needs. Returns the runs whose results are no longer needed.
    fn settle(&mut self, mut affected: Affected, now: Instant) -> Vec<RunId> {
        affected.sort_by(|(one, _), (other, _)| one.cmp(other));
        affected.dedup_by(|(address, is_gone), (kept, all_gone)| {
            *all_gone &= *is_gone || address != kept;
            address == kept
        });
        let most_rows = most_rows(self.endpoints.len());
        let mut abandoned = Vec::new();
        for (address, is_gone) in affected {
            let Some(mut slot) = self.slots.take(&address) else {
                continue;
            };
            if let Some(rank) = slot.counts_as.take() {
                self.endpoints.remove(rank);
                self.edits.add(&slot.speaker, most_rows);
                self.changed = true;
            }
            let speaker = slot.settle();
            let has_instances = speaker.as_ref().is_some_and(|speaker| !speaker.has_moved);
            if !has_instances {
                self.untried -= usize::from(std::mem::take(&mut slot.is_untried));
                self.failures.remove(&address);
                let run = slot.run.take();
                abandoned.extend(run.and_then(|run| self.queue.cancel(run)));
            } else {
                let paced = slot
                    .instances()
                    .map(|it| self.pace.from(it.key().as_str(), now));
                let paced = paced.min().unwrap_or(now);
                if let Some(run) = slot.take_paced_run(paced) {
                    self.queue.cancel(run);
                }
                if let Some(run_at) = slot.run_at(&self.rules, paced, now) {
                    slot.run = Some(self.queue.schedule(address, run_at));
                }
            }
            let Some(Speaker { rank, .. }) = speaker else {
                if is_gone && let Some(endpoint) = slot.endpoint {
                    endpoint.host().remove();
                }
                continue;
            };
            if let Some(endpoint) = &mut slot.endpoint {
                if !Arc::ptr_eq(endpoint.instance(), &slot.speaker) {
                    *endpoint = Arc::new(endpoint.with_instance(slot.speaker.clone()));
                }
                slot.counts_as = Some(rank);
                self.endpoints.add(rank);
                self.edits.add(&slot.speaker, most_rows);
            }
            self.slots.put(slot);
        }
        abandoned
    }

    /// Makes the targets that callers have asked for.
    pub(super) fn replace_targets(&mut self, now: Instant) {
        for instance in self.replacements.take() {
            // Its host may have another target by now.
            self.slots.change(instance.address(), |slot| {
                if let Some(run_at) = slot.run_at(&self.rules, now, now) {
                    let address = Address::of(&slot.speaker);
                    slot.run = Some(self.queue.schedule(address, run_at));
                }
            });
        }
    }

    /// Starts a factory, if one is due and the limit allows it. Returns the run, and the instance
    /// to call the factory with.
    pub(super) fn start_run(&mut self, now: Instant) -> Option<(RunId, Arc<Instance>)> {
        let (id, address) = self.queue.start(now)?;
        self.slots.change(&address, |slot| {
            // Those of the first event may be 100,000 keys to remember, and none of them has had another address.
            if slot.is_first_run() && !slot.is_untried {
                self.pace.ran(slot.speaker.key().as_str(), now);
            }
            slot.started(id, &self.rules);
            (id, slot.speaker.clone())
        })
    }

    /// When to call [`start_run`](Self::start_run) again, unless something else happens before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.queue.wake_at()
    }

    /// Takes the result of a factory. Ignores the result of a cancelled run.
    pub(super) fn finish_run(&mut self, id: RunId, made: Result<E, FactoryError>, now: Instant) {
        let has_answered = !matches!(made, Err(FactoryError::TimedOut(_)));
        let Some(address) = self.queue.finish(id, has_answered, now) else {
            return;
        };
        match made {
            Ok(target) => self.made(address, target, now),
            Err(error) => self.failed(address, error, now),
        }
    }

    fn made(&mut self, address: Address, target: E, now: Instant) {
        let instances = self.slots.change(&address, |slot| {
            if std::mem::take(&mut slot.is_untried) {
                self.untried -= 1;
                // A table that is filled is built anew. Row by row, it would outgrow its memory again and again.
                self.edits.become_many();
            }
            let instance = slot.speaker.clone();
            let replacements = Arc::downgrade(&self.replacements);
            let host = Host::new(instance.clone(), target, replacements);
            slot.made(Endpoint::at(instance, Arc::new(host)), now);
            slot.instances().map(|it| it.identity()).collect::<Vec<_>>()
        });
        self.failures.remove(&address);
        self.changed = true;
        let mut affected = vec![(address, true)];
        for key in instances.into_iter().flatten() {
            if let Some(kept_at) = self.kept_at.remove(&key) {
                self.leave(&kept_at, &key, false, &mut affected);
            }
        }
        self.settle(affected, now);
        self.log_all_made(now);
    }

    fn failed(&mut self, address: Address, error: FactoryError, now: Instant) {
        meters::factory_failed();
        let speaker = self.slots.change(&address, |slot| {
            self.untried -= usize::from(std::mem::take(&mut slot.is_untried));
            let retry_at = slot.retry_at(&self.rules, now);
            slot.run = Some(self.queue.schedule(address.clone(), retry_at));
            slot.speaker.clone()
        });
        let Some(speaker) = speaker else {
            return;
        };
        let before = self.failures.get(&address);
        let failing = self.failures.len() + usize::from(before.is_none());
        let failure = FactoryFailure {
            key: speaker.key().clone(),
            address: (*address).into(),
            attempts: before.map_or(1, |before| before.attempts.saturating_add(1)),
            since: before.map_or(now, |before| before.since),
            error,
        };
        self.log.failed(&failure, failing, now);
        self.failures.insert(address, failure);
        self.changed |= self.endpoints.is_empty();
    }

    /// How many lines the log may have.
    pub(super) fn lines(&self) -> &LineQuota {
        &self.log.lines
    }

    fn log_all_made(&mut self, now: Instant) {
        if self.making() == 0 {
            self.log.all_made(self.endpoints.len(), now);
        }
    }

    /// Whether the table has changed since it was last built.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// Builds the table, in the order of the identities, from the endpoints of the best rank that exists:
    /// serving with a weight, serving with weight 0, of an unknown status, draining.
    pub(super) fn table(&mut self) -> Box<[Arc<Endpoint<E>>]> {
        self.changed = false;
        self.edits = Edits::default();
        self.shown = self.endpoints.best();
        let count = self.shown.map_or(0, |rank| self.endpoints.of(rank));
        let mut endpoints = Vec::with_capacity(count);
        let known = self.known.iter().flatten();
        endpoints.extend(known.filter_map(|instance| self.row(instance)).cloned());
        endpoints.into()
    }

    /// The same table as what has to be changed in the one before, if that is little.
    pub(super) fn table_update(&mut self) -> TableUpdate<E> {
        if self.edits.are_many() || self.endpoints.best() != self.shown {
            return TableUpdate::All(self.table().into());
        }
        self.changed = false;
        let edited = self.edits.take().into_iter();
        let rows = edited.map(|identity| {
            let instance = self.known.as_ref().and_then(|known| known.get(&identity));
            let endpoint = instance.and_then(|instance| self.row(instance)).cloned();
            (identity, endpoint)
        });
        TableUpdate::Rows(rows.collect())
    }

    /// The endpoint in the row of a known instance: that of the address for which it speaks, if that is shown.
    fn row(&self, instance: &Arc<Instance>) -> Option<&Arc<Endpoint<E>>> {
        if Some(rank(instance)) != self.shown {
            return None;
        }
        let kept_at = match self.kept_at.is_empty() {
            true => None,
            false => self.kept_at.get(&instance.identity()),
        };
        let address = kept_at.map_or(instance.address(), |address| address);
        let endpoint = self.slots.endpoint(address)?;
        let speaker = endpoint.instance();
        let speaks = Arc::ptr_eq(speaker, instance) || speaker.place() == instance.place();
        speaks.then_some(endpoint)
    }

    /// The table that was last built is not the one that is published.
    pub(super) fn forget_table(&mut self) {
        self.changed = false;
        self.edits.become_many();
    }

    /// Whether the instances are known and the factory has been tried for all of the first ones.
    pub(super) fn is_ready(&self) -> bool {
        self.known.is_some() && self.untried == 0
    }

    /// How many instances there are. `None` before the first event.
    pub(super) fn instances(&self) -> Option<usize> {
        self.known.as_ref().map(Instances::len)
    }

    /// How many factories wait or run.
    pub(super) fn making(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn failures(&self) -> &OrdMap<Address, FactoryFailure> {
        &self.failures
    }
}
