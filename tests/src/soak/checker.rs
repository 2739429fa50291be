//! Checks every state that a consumer shows for what it must never show.

use super::event_log::EventLog;
use sd_core::{Event, Health, Instance, InstanceChange, InstanceKey, Instances, Key, Trouble};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The metadata that says which run of a provider wrote an entry.
pub(super) const LIFE: &str = "life";
/// How long after trouble a consumer must hold every removal back. A little less than its grace
/// period, which begins before the checker notices.
const HOLDS: Duration = Duration::from_millis(3_500);

/// Which providers run, which have ended, and the first broken promise. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Checker(Arc<Mutex<CheckerState>>);

#[derive(Debug, Default)]
struct CheckerState {
    steady: BTreeSet<Key>,
    /// So many of all at least are to be seen.
    least: usize,
    ended: BTreeMap<Key, u64>,
    vanished: Vec<Vanished>,
    broken: Option<String>,
}

/// A running provider that a consumer no longer sees.
#[derive(Debug, Clone)]
pub(super) struct Vanished {
    /// The consumer.
    pub(super) from: usize,
    pub(super) key: Key,
    pub(super) at: Instant,
    /// Why the consumer held removals back at that time, if it did.
    pub(super) doubt: Option<String>,
}

impl Checker {
    /// From now on consumers must show the instances under `keys` at all times.
    pub(super) fn steady(&self, keys: BTreeSet<Key>) {
        let mut state = self.state();
        state.least = keys.len();
        state.steady = keys;
    }

    /// From now on so many instances are to be seen at all times, whichever they are.
    pub(super) fn at_least(&self, least: usize) {
        let mut state = self.state();
        state.least = least;
        state.steady.clear();
    }

    /// This run of a provider has ended and writes nothing any more.
    pub(super) fn ended(&self, key: &Key, life: u64) {
        self.state().ended.insert(key.clone(), life);
    }

    /// What this key held before may be seen again.
    pub(super) fn returns(&self, key: &Key) {
        self.state().ended.remove(key);
    }

    /// The first promise that was broken.
    pub(super) fn verdict(&self) -> Result<(), String> {
        match &self.state().broken {
            Some(what) => Err(what.clone()),
            None => Ok(()),
        }
    }

    pub(super) fn broken(&self, what: String) {
        self.state().broken.get_or_insert(what);
    }

    /// The providers that vanished since the last call, once for each consumer.
    pub(super) fn vanished(&self) -> Vec<Vanished> {
        std::mem::take(&mut self.state().vanished)
    }

    /// The keys that must be shown and are not.
    fn missing(&self, has: impl Fn(&Key) -> bool) -> Vec<Key> {
        let state = self.state();
        let missing = state.steady.iter().filter(|key| !has(key));
        missing.cloned().collect()
    }

    fn has_vanished(&self, from: usize, key: &Key) -> bool {
        let state = self.state();
        let mut vanished = state.vanished.iter();
        vanished.any(|it| it.from == from && it.key == *key)
    }

    /// Whether this run has ended.
    fn has_ended(&self, key: &Key, life: u64) -> bool {
        self.state().ended.get(key).is_some_and(|end| life <= *end)
    }

    fn state(&self) -> MutexGuard<'_, CheckerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one consumer has shown so far.
#[derive(Debug)]
pub(super) struct ConsumerHistory {
    consumer: usize,
    checker: Checker,
    events: EventLog,
    shown: Instances,
    held: BTreeSet<InstanceKey>,
    gone: BTreeMap<Key, u64>,
    health: KnownHealth,
}

/// What a consumer knows about the registry's health.
#[derive(Debug)]
enum KnownHealth {
    Untroubled,
    Stale { since: Instant, why: String },
    Live { since: Instant, why: String },
}

impl ConsumerHistory {
    pub(super) fn new(consumer: usize, checker: Checker, events: EventLog) -> Self {
        Self {
            consumer,
            checker,
            events,
            shown: Instances::default(),
            held: BTreeSet::new(),
            gone: BTreeMap::new(),
            health: KnownHealth::Untroubled,
        }
    }

    /// Takes the next state.
    pub(super) fn show(&mut self, event: &Event) {
        let now = Instant::now();
        self.learn(event.health(), now);
        self.note(event);
        let shown = event.instances();
        self.miss(shown, now);
        let (n, seen, least) = (self.consumer, shown.len(), self.checker.state().least);
        if self.checker.state().steady.is_empty() && seen < least {
            self.checker
                .broken(format!("c{n} sees {seen} instances, not {least}"));
        }
        if let Err(why) = self.follow(shown) {
            self.checker.broken(format!("c{} {why}", self.consumer));
        }
        self.shown = shown.clone();
    }

    /// Checks the endpoints, which follow the instances a little later.
    pub(super) fn look(&self, shown: &Instances, has: impl Fn(&Key) -> bool) {
        self.miss(shown, Instant::now());
        for key in self.checker.missing(has) {
            if !self.checker.has_vanished(self.consumer, &key) {
                let n = self.consumer;
                let what = format!("c{n} has no endpoint of {key}, which it sees");
                self.checker.broken(what);
            }
        }
    }

    fn learn(&mut self, health: &Health, now: Instant) {
        let n = self.consumer;
        match (health, &self.health) {
            // Every consumer begins so.
            (
                Health::Stale {
                    why: Trouble::Unanswered,
                    ..
                },
                KnownHealth::Untroubled,
            ) => {}
            (Health::Stale { why, .. }, KnownHealth::Untroubled | KnownHealth::Live { .. }) => {
                let why = why.to_string();
                self.events.note(format!("c{n} is stale: {why}"));
                self.health = KnownHealth::Stale { since: now, why };
            }
            (Health::Live, KnownHealth::Stale { since, why }) => {
                let (stale, why) = (now - *since, why.clone());
                let what = format!("c{n} follows again, after {stale:.2?}");
                self.events.note(what);
                self.health = KnownHealth::Live { since: now, why };
            }
            _ => {}
        }
    }

    /// Why the consumer holds removals back, if it does.
    fn doubt(&self, now: Instant) -> Option<String> {
        match &self.health {
            KnownHealth::Stale { since, why } => {
                Some(format!("stale for {:.2?}: {why}", now - *since))
            }
            KnownHealth::Live { since, why } if now < *since + HOLDS => {
                let live = now - *since;
                Some(format!("live again for {live:.2?} only, after: {why}"))
            }
            KnownHealth::Live { .. } | KnownHealth::Untroubled => None,
        }
    }

    fn note(&mut self, event: &Event) {
        let n = self.consumer;
        for change in self.shown.diff(event.instances()) {
            self.events.note(match change {
                InstanceChange::Added(new) => format!("c{n} sees {}", new.key()),
                InstanceChange::Updated { new, .. } => format!("c{n} sees a new {}", new.key()),
                InstanceChange::Removed(old) => format!("c{n} sees {} no more", old.key()),
            });
        }
        let held: BTreeSet<InstanceKey> = event.held().map(|(held, _)| held.clone()).collect();
        if held != self.held {
            let keys: Vec<&str> = held.iter().map(InstanceKey::key).collect();
            self.events.note(match keys.is_empty() {
                true => format!("c{n} holds nothing any more"),
                false => format!("c{n} holds {}", keys.join(", ")),
            });
            self.held = held;
        }
    }

    fn miss(&self, shown: &Instances, now: Instant) {
        for key in self.checker.missing(|key| shown.get(key).is_some()) {
            if !self.checker.has_vanished(self.consumer, &key) {
                self.checker.state().vanished.push(Vanished {
                    from: self.consumer,
                    key,
                    at: now,
                    doubt: self.doubt(now),
                });
            }
        }
    }

    /// Not of a run that has ended and was seen to be gone.
    fn is_new(&self, new: &Instance) -> Result<(), String> {
        match (life(new), self.gone.get(new.key())) {
            (Some(life), Some(gone))
                if life <= *gone && self.checker.has_ended(new.key(), life) =>
            {
                Err(format!("sees {new:?} again"))
            }
            _ => Ok(()),
        }
    }

    /// Says which promise the way from the last state to this one breaks, if any.
    fn follow(&mut self, shown: &Instances) -> Result<(), String> {
        for change in self.shown.diff(shown) {
            match change {
                InstanceChange::Added(new) => self.is_new(&new)?,
                InstanceChange::Updated { old, new } => {
                    self.is_new(&new)?;
                    if life(&new) < life(&old) && life(&new).is_some() {
                        return Err(format!("sees {new:?} after {old:?}"));
                    }
                }
                InstanceChange::Removed(old) => {
                    if let Some(life) = life(&old)
                        && self.checker.has_ended(old.key(), life)
                    {
                        self.gone.insert(old.key().clone(), life);
                    }
                }
            }
        }
        Ok(())
    }
}

fn life(instance: &Instance) -> Option<u64> {
    instance.metadata(LIFE)?.parse().ok()
}
