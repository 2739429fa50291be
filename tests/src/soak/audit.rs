//! What a consumer must never see, looked at in every state that it shows.

use sd_core::{Event, Instance, InstanceChange, Instances, Key};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Which run of a provider wrote an entry; in its metadata.
pub(super) const LIFE: &str = "life";

/// Who lives and who has ended, and the first promise that was broken. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Audit(Arc<Mutex<Books>>);

#[derive(Debug, Default)]
struct Books {
    steady: BTreeSet<Key>,
    ended: BTreeMap<Key, u64>,
    broken: Option<String>,
}

impl Audit {
    /// From now on the instances under `keys`, and nobody else's, are to be seen at all times.
    pub(super) fn steady(&self, keys: BTreeSet<Key>) {
        self.books().steady = keys;
    }

    /// This run of a provider writes nothing any more.
    pub(super) fn ended(&self, key: &Key, life: u64) {
        self.books().ended.insert(key.clone(), life);
    }

    /// The first promise that was broken.
    pub(super) fn verdict(&self) -> Result<(), String> {
        match &self.books().broken {
            Some(what) => Err(what.clone()),
            None => Ok(()),
        }
    }

    pub(super) fn broken(&self, what: String) {
        self.books().broken.get_or_insert(what);
    }

    /// The first of the keys that must be there and is not.
    pub(super) fn missing(&self, has: impl Fn(&Key) -> bool) -> Option<Key> {
        self.books().steady.iter().find(|key| !has(key)).cloned()
    }

    /// Whether this run has ended.
    fn has_ended(&self, key: &Key, life: u64) -> bool {
        self.books().ended.get(key).is_some_and(|end| life <= *end)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one consumer has shown so far.
#[derive(Debug)]
pub(super) struct Trail {
    audit: Audit,
    shown: Instances,
    gone: BTreeMap<Key, u64>,
}

impl Trail {
    pub(super) fn new(audit: Audit) -> Self {
        Self {
            audit,
            shown: Instances::default(),
            gone: BTreeMap::new(),
        }
    }

    /// Takes the next state. Says which promise it breaks, if any.
    pub(super) fn show(&mut self, event: &Event) -> Result<(), String> {
        let shown = event.instances();
        if let Some(key) = self.audit.missing(|key| shown.get(key).is_some()) {
            return Err(format!(
                "does not see {key}, which stands; it sees {shown:?}"
            ));
        }
        for change in self.shown.diff(shown) {
            match change {
                InstanceChange::Added(new) => is_new(&self.gone, new)?,
                InstanceChange::Updated { old, new } => {
                    is_new(&self.gone, new)?;
                    if life(new) < life(old) && life(new).is_some() {
                        return Err(format!("sees {new:?} after {old:?}"));
                    }
                }
                InstanceChange::Removed(old) => {
                    if let Some(life) = life(old)
                        && self.audit.has_ended(old.key(), life)
                    {
                        self.gone.insert(old.key().clone(), life);
                    }
                }
            }
        }
        self.shown = shown.clone();
        Ok(())
    }
}

/// Not of a run that has ended and was seen to be gone.
fn is_new(gone: &BTreeMap<Key, u64>, new: &Instance) -> Result<(), String> {
    match (life(new), gone.get(new.key())) {
        (Some(life), Some(gone)) if life <= *gone => Err(format!("sees {new:?} again")),
        _ => Ok(()),
    }
}

fn life(instance: &Instance) -> Option<u64> {
    instance.metadata(LIFE)?.parse().ok()
}
