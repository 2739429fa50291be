//! The endpoint set: which instances are known, which addresses they have, which of these have an
//! endpoint, and which factory runs when. A state machine without I/O;
//! [`FactoryRuns`](super::factory_runs::FactoryRuns) runs the factories.

mod address_pace;
mod address_slot;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use super::{
    failure_log::FailureLog,
    status::{Address, FactoryFailure},
};
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
use address_slot::{AddressSlot, RANKS, Rank, Speaker};
use imbl::OrdMap;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use tokio::time::Instant;

pub(super) struct EndpointSet<E> {
    /// The instances of the last event.
    known: Option<Instances>,
    slots: HashMap<Address, AddressSlot<E>>,
    /// The instances that have moved to an address without an endpoint, each with the address whose
    /// endpoint is kept for it.
    kept_at: BTreeMap<InstanceKey, Address>,
    /// The endpoints of all slots, by the identity of the instance that speaks for each.
    endpoints: BTreeMap<InstanceKey, (Rank, Arc<Endpoint<E>>)>,
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
    /// How many endpoints there are of each rank.
    ranks: [usize; RANKS],
    /// The rank of the endpoints in the table that was last built; `None` if it has none.
    shown: Option<Rank>,
    edits: Edits,
}

/// Whose endpoints have changed since the table was last built.
#[derive(Default)]
struct Edits {
    rows: BTreeSet<InstanceKey>,
    /// Too many, or it is not known whose: the table is built anew.
    are_many: bool,
}

/// So many rows of a table of `endpoints` are changed one by one. About as many take as long as all, built anew.
fn most_rows(endpoints: usize) -> usize {
    32 + endpoints / 128
}

impl Edits {
    fn add(&mut self, identity: &InstanceKey, most: usize) {
        if !self.are_many {
            self.rows.insert(identity.clone());
        }
        if self.rows.len() > most {
            self.become_many();
        }
    }

    fn become_many(&mut self) {
        self.are_many = true;
        self.rows.clear();
    }
}

/// The addresses of the slots that have changed, and whether all instances that left one were
/// removed unannounced.
type Affected = BTreeMap<Address, bool>;

impl<E> EndpointSet<E> {
    /// An empty set that runs at most `limit` factories at once. What it makes asks
    /// `replacements` for other targets.
    pub(super) fn new(limit: usize, rules: FactoryRules, replacements: Arc<Replacements>) -> Self {
        Self {
            known: None,
            slots: HashMap::new(),
            kept_at: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            queue: RunQueue::new(limit),
            rules,
            pace: AddressPace::new(),
            replacements,
            failures: OrdMap::new(),
            log: FailureLog::new(),
            untried: 0,
            changed: false,
            ranks: [0; RANKS],
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
        let slot = match self.slots.get_mut(instance.address()) {
            Some(slot) => slot,
            None => {
                self.untried += usize::from(is_untried);
                let slot = AddressSlot::new(instance, is_untried);
                self.slots.entry(slot.address.clone()).or_insert(slot)
            }
        };
        slot.join(instance);
        affected.entry(slot.address.clone()).or_insert(true);
    }

    fn leave(&mut self, address: &str, key: &InstanceKey, is_gone: bool, affected: &mut Affected) {
        if let Some(slot) = self.slots.get_mut(address) {
            slot.leave(key);
            *affected.entry(slot.address.clone()).or_insert(true) &= is_gone;
        }
    }

    fn update(&mut self, old: &Instance, new: &Arc<Instance>, affected: &mut Affected) {
        let key = &new.identity();
        let mut kept_at = self.kept_at.remove(key);
        if old.address() != new.address() {
            kept_at = match self.slots.get(old.address()) {
                Some(slot) if slot.endpoint.is_some() => Some(slot.address.clone()),
                _ => {
                    self.leave(old.address(), key, false, affected);
                    kept_at
                }
            };
        }
        if let Some(kept_at) = kept_at {
            let new_slot = self.slots.get(new.address());
            if new_slot.is_none_or(|slot| slot.endpoint.is_none()) {
                self.keep(kept_at, new, affected);
            } else if *kept_at != *new.address() {
                self.leave(&kept_at, key, false, affected);
            }
        }
        self.join(new, false, affected);
    }

    /// Keeps the endpoint of an address for an instance that has moved to another.
    fn keep(&mut self, address: Address, moved: &Arc<Instance>, affected: &mut Affected) {
        if let Some(slot) = self.slots.get_mut(&address) {
            slot.move_away(moved);
            affected.entry(address.clone()).or_insert(true);
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
    fn settle(&mut self, affected: Affected, now: Instant) -> Vec<RunId> {
        let most_rows = most_rows(self.endpoints.len());
        // All are taken out before any is put back, since two addresses may have changed speakers.
        for address in affected.keys() {
            if let Some(slot) = self.slots.get(address)
                && slot.endpoint.is_some()
            {
                if let Some((rank, _)) = self.endpoints.remove(&slot.speaker) {
                    self.ranks[usize::from(rank)] -= 1;
                }
                self.edits.add(&slot.speaker, most_rows);
                self.changed = true;
            }
        }
        let mut abandoned = Vec::new();
        for (address, is_gone) in affected {
            let Some(slot) = self.slots.get_mut(&address) else {
                continue;
            };
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
                    slot.run = Some(self.queue.schedule(address.clone(), run_at));
                }
            }
            match (speaker, &mut slot.endpoint) {
                (Some(Speaker { instance, rank, .. }), Some(endpoint)) => {
                    if !Arc::ptr_eq(endpoint.instance(), &instance) {
                        *endpoint = Arc::new(endpoint.with_instance(instance));
                    }
                    let row = (rank, endpoint.clone());
                    self.edits.add(&slot.speaker, most_rows);
                    self.ranks[usize::from(rank)] += 1;
                    if let Some((rank, _)) = self.endpoints.insert(slot.speaker.clone(), row) {
                        self.ranks[usize::from(rank)] -= 1;
                    }
                }
                (Some(_), None) => {}
                (None, endpoint) => {
                    if let Some(endpoint) = endpoint
                        && is_gone
                    {
                        endpoint.host().remove();
                    }
                    self.slots.remove(&address);
                }
            }
        }
        abandoned
    }

    /// Makes the targets that callers have asked for.
    pub(super) fn replace_targets(&mut self, now: Instant) {
        for instance in self.replacements.take() {
            // Its host may have another target by now.
            if let Some(slot) = self.slots.get_mut(instance.address())
                && let Some(run_at) = slot.run_at(&self.rules, now, now)
            {
                slot.run = Some(self.queue.schedule(slot.address.clone(), run_at));
            }
        }
    }

    /// Starts a factory, if one is due and the limit allows it. Returns the run, and the instance
    /// to call the factory with.
    pub(super) fn start_run(&mut self, now: Instant) -> Option<(RunId, Arc<Instance>)> {
        let (id, address) = self.queue.start(now)?;
        let slot = self.slots.get_mut(&address)?;
        if slot.is_first_run() {
            self.pace.ran(slot.speaker.key(), now);
        }
        slot.started(id, &self.rules);
        Some((id, slot.speaking()?.clone()))
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
        let Some(slot) = self.slots.get_mut(&address) else {
            return;
        };
        self.untried -= usize::from(std::mem::take(&mut slot.is_untried));
        match made {
            Ok(target) => self.made(&address, target, now),
            Err(error) => {
                meters::factory_failed();
                let retry_at = slot.retry_at(&self.rules, now);
                slot.run = Some(self.queue.schedule(address.clone(), retry_at));
                let before = self.failures.get(&address);
                let failing = self.failures.len() + usize::from(before.is_none());
                let Some(speaker) = slot.speaking() else {
                    return;
                };
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
        }
    }

    fn made(&mut self, address: &Address, target: E, now: Instant) {
        let Some(slot) = self.slots.get_mut(address) else {
            return;
        };
        let Some(instance) = slot.speaking().cloned() else {
            return;
        };
        let replacements = Arc::downgrade(&self.replacements);
        let host = Host::new(instance.clone(), target, replacements);
        slot.made(Endpoint::at(instance, Arc::new(host)), now);
        self.failures.remove(address);
        self.changed = true;
        let mut affected = Affected::from([(address.clone(), true)]);
        let instances: Vec<_> = slot.instances().cloned().collect();
        for instance in instances {
            let key = instance.identity();
            if let Some(kept_at) = self.kept_at.remove(&key) {
                self.leave(&kept_at, &key, false, &mut affected);
            }
        }
        self.settle(affected, now);
        self.log_all_made(now);
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
        self.shown = self.best_rank();
        self.endpoints
            .values()
            .filter(|(rank, _)| Some(*rank) == self.shown)
            .map(|(_, endpoint)| endpoint.clone())
            .collect()
    }

    /// The same table as what has to be changed in the one before, if that is little.
    pub(super) fn table_update(&mut self) -> TableUpdate<E> {
        if self.edits.are_many || self.best_rank() != self.shown {
            return TableUpdate::All(self.table().into());
        }
        self.changed = false;
        let edited = std::mem::take(&mut self.edits).rows.into_iter();
        let rows = edited.map(|identity| {
            let row = self.endpoints.get(&identity);
            let row = row.filter(|(rank, _)| Some(*rank) == self.shown);
            let endpoint = row.map(|(_, endpoint)| endpoint.clone());
            (identity, endpoint)
        });
        TableUpdate::Rows(rows.collect())
    }

    /// The table that was last built is not the one that is published.
    pub(super) fn forget_table(&mut self) {
        self.changed = false;
        self.edits.become_many();
    }

    fn best_rank(&self) -> Option<Rank> {
        (0..)
            .zip(self.ranks)
            .find_map(|(rank, count)| (count > 0).then_some(rank))
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
