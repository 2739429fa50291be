//! The promises. They are checked whenever something happens, and after each calm period.

use super::{
    faults::Fault,
    history::History,
    outages::Outages,
    plan::{Kind, Plan},
    registry_log::{LoggedChange, Position, RegistryLog},
    view::View,
};
use sd_core::{Bytes, Codec, DefaultCodec, Edit, Entry, Event, Key, Prefix, Status};
use sd_memory::{Backup, Registry};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A ready consumer with at least this grace period is never empty while there is a provider.
const FULL_GRACE: Duration = Duration::from_secs(15);
/// A provider counts for that only if it registered at least this long ago, and if nobody else has
/// touched its key.
const ESTABLISHED: Duration = Duration::from_secs(20);

/// Names one key of one run of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OfferId {
    pub(super) slot: usize,
    pub(super) life: u32,
    pub(super) offer: usize,
}

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}.{}/{}", self.slot, self.life, self.offer)
    }
}

/// A registered provider.
struct Registered {
    stem: Key,
    since: Instant,
}

/// Checks the promises during a run. A handle on one shared state.
#[derive(Clone)]
pub(super) struct Checker(Arc<Mutex<CheckerState>>);

/// What is known about a run, and its history.
pub(super) struct CheckerState {
    start: Instant,
    pub(super) history: History,
    pub(super) registry_log: RegistryLog,
    pub(super) outages: Outages,
    /// The owner of each value; no two owners write the same.
    owners: HashMap<Bytes, OfferId>,
    /// Owners that must not put anything any more, and since when.
    barred: BTreeMap<OfferId, Position>,
    registered: BTreeMap<OfferId, Registered>,
    /// Those who stood when the registry was restored last, and can tell that what has come back is not
    /// somebody else's, until they put something again.
    aware: BTreeSet<OfferId>,
    /// Those whose entry somebody else has replaced, until they stand again: another provider, a stranger, or a restore
    /// after which they cannot tell that what has come back is nobody's. They wait for the key to be free.
    displaced: BTreeSet<OfferId>,
    /// Who wrote each key last, of the providers.
    writers: HashMap<Key, OfferId>,
    pub(super) views: BTreeMap<u32, View>,
    /// What is not checked.
    left_out: Vec<Kind>,
}

impl Checker {
    pub(super) fn new(registry: Registry, plan: &Plan, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(CheckerState {
            start: now,
            history: History::default(),
            registry_log: RegistryLog::new(registry),
            outages: Outages::new(now),
            owners: HashMap::new(),
            barred: BTreeMap::new(),
            registered: BTreeMap::new(),
            aware: BTreeSet::new(),
            displaced: BTreeSet::new(),
            writers: HashMap::new(),
            views: BTreeMap::new(),
            left_out: plan.left_out.clone(),
        })))
    }

    /// The state, brought up to the present.
    pub(super) fn state(&self) -> MutexGuard<'_, CheckerState> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = state.registry_log.catch_up();
        state.read(changes);
        state
    }

    pub(super) fn note(&self, line: impl Into<String>) {
        self.state().note(line);
    }

    pub(super) fn violate(&self, what: impl Into<String>) {
        self.state().violate(what);
    }
}

impl CheckerState {
    pub(super) fn note(&mut self, line: impl Into<String>) {
        self.history.note(self.start.elapsed(), line.into());
    }

    pub(super) fn violate(&mut self, what: impl Into<String>) {
        self.history.violate(self.start.elapsed(), what.into());
    }

    fn read(&mut self, changes: Vec<LoggedChange>) {
        for LoggedChange { key, place, value } in changes {
            let Some(value) = value else {
                self.note(format!("    registry: -{key}"));
                continue;
            };
            let owner = self.owners.get(&value).copied();
            let text = String::from_utf8_lossy(&value).into_owned();
            match owner {
                Some(who) => self.note(format!("    registry: +{key} by {who}: {text}")),
                None => self.note(format!("    registry: +{key} by strangers: {text}")),
            }
            let before = self.writers.get(&key).copied();
            let replaced = before.filter(|who| Some(*who) != owner);
            self.displaced.extend(replaced);
            let Some(who) = owner else {
                continue;
            };
            self.writers.insert(key.clone(), who);
            self.aware.remove(&who);
            if self.displaced.remove(&who) {
                self.touch(|other| *other == who, Instant::now());
            }
            if self.barred.get(&who).is_some_and(|since| *since < place) {
                self.violate(format!("{who} put {key} after it had deregistered or died"));
            }
        }
    }

    // === Providers ===

    /// `who` will write `value`, or the same with draining announced.
    pub(super) fn owns(&mut self, who: OfferId, key: &Key, value: &Bytes) {
        self.owners.insert(value.clone(), who);
        let entry = Entry::new(key.clone(), value.clone());
        if let Ok(draining) = DefaultCodec.edit(&entry, &Edit::new().status(Status::Draining)) {
            self.owners.insert(draining.value, who);
        }
    }

    pub(super) fn owner(&self, value: &Bytes) -> Option<OfferId> {
        self.owners.get(value).copied()
    }

    /// `who` may put from now on.
    pub(super) fn may_put(&mut self, who: OfferId) {
        self.barred.remove(&who);
    }

    /// `who` must not put from now on.
    pub(super) fn must_not_put(&mut self, who: OfferId) {
        self.barred.insert(who, self.registry_log.position());
    }

    /// The keys of `who` in the registry.
    pub(super) fn holdings(&self, who: OfferId) -> impl Iterator<Item = &Key> {
        let present = self.registry_log.present();
        present.filter_map(move |(key, value)| (self.owner(value) == Some(who)).then_some(key))
    }

    /// `who` is registered under `stem`, or under a key that begins with `stem` and ends in a
    /// lease.
    pub(super) fn registered(&mut self, who: OfferId, stem: Key, now: Instant) {
        self.registered.insert(who, Registered { stem, since: now });
    }

    /// `who` deregisters.
    pub(super) fn deregistering(&mut self, who: OfferId) {
        self.registered.remove(&who);
    }

    /// Somebody else has touched the keys of all providers for which `are` returns `true`.
    pub(super) fn touch(&mut self, are: impl Fn(&OfferId) -> bool, now: Instant) {
        for (who, registered) in &mut self.registered {
            if are(who) {
                registered.since = now;
            }
        }
    }

    /// Whether what belongs to `kind` is checked.
    pub(super) fn checks(&self, kind: Kind) -> bool {
        !self.left_out.contains(&kind)
    }

    // === Consumers ===

    /// A consumer begins to follow.
    pub(super) fn follow(&mut self, consumer: u32, prefix: Prefix, grace: Duration, now: Instant) {
        let view = View::new(prefix, grace, &self.registry_log, now);
        self.views.insert(consumer, view);
    }

    /// A consumer is shown nothing any more.
    pub(super) fn end(&mut self, consumer: u32) {
        let view = self.views.remove(&consumer);
        // Who never knew anything has nothing to say.
        if view.is_none_or(|view| view.ready().is_some() && !view.has_ended()) {
            self.violate(format!("c{consumer} ended without a word"));
        }
    }

    /// A consumer is shown something.
    pub(super) fn show(&mut self, consumer: u32, event: Event, now: Instant) {
        let Some(view) = self.views.get_mut(&consumer) else {
            return self.violate(format!("c{consumer} is shown something after its end"));
        };
        let is_empty = event.instances().is_empty();
        let latest = view.latest();
        let was_full = latest.is_some_and(|latest| !latest.instances().is_empty());
        let mut shown = view.show(event, &self.registry_log, &self.outages, now);
        let losses = view.check_losses(now);
        if !self.left_out.contains(&Kind::MassLoss) {
            shown = shown.and_then(|line| losses.map(|()| line));
        }
        let long_ready = view.ready().is_some_and(|ready| ready + ESTABLISHED <= now);
        // An instance that announced it may go at once.
        let was_emptied = was_full
            && is_empty
            && view.announced() == 0
            && view.grace >= FULL_GRACE
            && long_ready
            && !self.outages.is_cut_off();
        let prefix = view.prefix.clone();
        match shown {
            Ok(line) => self.note(format!("    c{consumer} sees: {line}")),
            Err(violation) => self.violate(format!("c{consumer}: {violation}")),
        }
        let alive = self.registered.iter().find(|(who, registered)| {
            let mut there = self.under(&registered.stem);
            prefix.matches(&registered.stem)
                && !self.displaced.contains(who)
                && registered.since + ESTABLISHED <= now
                && there.all(|(_, value)| self.owner(value) == Some(**who))
        });
        if let Some((who, _)) = alive
            && was_emptied
        {
            let who = *who;
            self.violate(format!("c{consumer} is emptied while {who} lives"));
        }
    }

    /// Puts the registry back to what it was. What comes back is nobody's doing.
    ///
    /// Whoever stands now is back at once, if it can tell that what has come back is not somebody else's:
    /// all of it `is_older`, since the registry was not rebuilt and has not counted anew since the backup,
    /// or it is its own, by its lease.
    pub(super) fn restore(&mut self, backup: &Backup, bump: bool, is_older: bool) {
        let registered = self.registered.iter();
        let stood = registered.filter(|(who, _)| self.holdings(**who).next().is_some());
        let stood: Vec<_> = stood.map(|(who, it)| (*who, it.stem.clone())).collect();
        let (before, restored) = self.registry_log.restore(backup, bump);
        self.read(before);
        for LoggedChange { key, value, .. } in restored {
            self.note(match value {
                Some(value) => format!("    restored: {key}: {}", String::from_utf8_lossy(&value)),
                None => format!("    restored without {key}"),
            });
        }
        let (aware, displaced): (Vec<_>, Vec<_>) = stood.into_iter().partition(|(who, stem)| {
            let mut there = self.under(stem);
            is_older || there.all(|(_, value)| self.owner(value) == Some(*who))
        });
        self.aware = aware.into_iter().map(|(who, _)| who).collect();
        let displaced = displaced.into_iter().map(|(who, _)| who);
        self.displaced.extend(displaced);
        let there = self.registry_log.present();
        for (_, value) in there {
            if let Some(who) = self.owners.get(value) {
                self.displaced.remove(who);
            }
        }
    }

    /// What the registry holds under `stem`, or under a key that begins with it and ends in the id of any
    /// lease.
    pub(super) fn under(&self, stem: &Key) -> impl Iterator<Item = (&Key, &Bytes)> {
        let present = self.registry_log.present();
        present.filter(move |(key, _)| key.as_str().starts_with(stem.as_str()))
    }

    /// Whether what stands under `stem`, or a key that begins with it, was brought back by a restore,
    /// while `who` stood there.
    pub(super) fn is_robbed(&self, who: OfferId, stem: &Key) -> bool {
        let mut there = self.under(stem);
        self.aware.contains(&who) && there.any(|(key, _)| self.registry_log.is_restored(key))
    }

    /// A fault is about to be done to the registry, which `rebuild` loses everything.
    pub(super) fn fault(&mut self, fault: &Fault, now: Instant) {
        self.outages.fault(fault, now);
        if let Fault::ExpireAll = fault {
            for view in self.views.values_mut() {
                view.lose_all(now);
            }
        }
        if let Fault::Rebuild { .. } = fault {
            let changes = self.registry_log.rebuild();
            self.read(changes);
        }
    }
}
