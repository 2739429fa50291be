//! The union of several sources, as a state machine without I/O.

use crate::{
    instances::{Event, Health, Held, InstanceKey, Instances, Trouble},
    registry::Error,
};
use imbl::OrdMap;
use std::collections::BTreeSet;
use tokio::time::Instant;

/// The union of the sources' states, without I/O.
pub(super) struct MergeState {
    partial: bool,
    sources: Vec<SourceState>,
    instances: Instances,
    held: OrdMap<InstanceKey, Held>,
}

/// The state of one source.
enum SourceState {
    /// The source has no state yet.
    Unknown { since: Instant },
    /// The source ended before it had a state.
    Ended { since: Instant },
    /// The newest state of the source.
    Known(Event),
}

impl SourceState {
    fn event(&self) -> Option<&Event> {
        match self {
            Self::Known(event) => Some(event),
            Self::Unknown { .. } | Self::Ended { .. } => None,
        }
    }

    fn health(&self, index: usize) -> Health {
        match self {
            Self::Known(event) => event.health().clone(),
            Self::Ended { since } => Health::stale(*since, Trouble::Stopped),
            Self::Unknown { since } => {
                let error = Error::unavailable(format!("source {index} knows nothing yet"));
                Health::stale(*since, Trouble::List(error))
            }
        }
    }
}

impl MergeState {
    /// So many sources, none of which has a state yet. With `partial`, one state is enough for the
    /// union.
    pub(super) fn new(sources: usize, partial: bool, since: Instant) -> Self {
        Self {
            partial,
            sources: (0..sources)
                .map(|_| SourceState::Unknown { since })
                .collect(),
            instances: Instances::default(),
            held: OrdMap::new(),
        }
    }

    /// The source `index` has a new state, or has ended.
    pub(super) fn update(&mut self, index: usize, event: Option<Event>, now: Instant) {
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        let Some(event) = event else {
            if let SourceState::Unknown { .. } = source {
                *source = SourceState::Ended { since: now };
            }
            return;
        };
        let (instances, held) = match source.event() {
            Some(old) => (old.instances().clone(), old.held_map().clone()),
            None => Default::default(),
        };
        let changes = instances.diff(event.instances());
        let mut keys: BTreeSet<InstanceKey> = changes.map(|change| change.identity()).collect();
        if !held.ptr_eq(event.held_map()) {
            keys.extend(held.keys().chain(event.held_map().keys()).cloned());
        }
        *source = SourceState::Known(event);
        for key in keys {
            self.choose(key);
        }
    }

    /// Shows under `key` the instance of the first source that has one.
    fn choose(&mut self, key: InstanceKey) {
        let known = || {
            self.sources.iter().filter_map(|source| {
                let event = source.event()?;
                Some((event.instances().get(&key)?, event.held_map().get(&key)))
            })
        };
        let chosen = known()
            .find(|(_, held)| held.is_none())
            .or_else(|| known().next());
        let Some((instance, held)) = chosen else {
            self.instances.remove(&key);
            self.held.remove(&key);
            return;
        };
        let (instance, held) = (instance.clone(), held.cloned());
        self.instances.insert(instance);
        match held {
            Some(held) => self.held.insert(key, held),
            None => self.held.remove(&key),
        };
    }

    /// The next state of the union, if enough sources are known.
    pub(super) fn event(&self) -> Option<Event> {
        let is_unknown = |source: &SourceState| matches!(source, SourceState::Unknown { .. });
        let too_few = if self.partial {
            self.sources.iter().all(is_unknown)
        } else {
            self.sources.iter().any(is_unknown)
        };
        if too_few {
            return None;
        }
        let sources = self.sources.iter().enumerate();
        let stale = |(index, source): (usize, &SourceState)| match source.health(index) {
            Health::Stale { since, why } => Some((since, why)),
            Health::Live => None,
        };
        let health = sources
            .filter_map(stale)
            .min_by_key(|(since, _)| *since)
            .map_or(Health::Live, |(since, why)| Health::stale(since, why));
        // The publisher counts the versions.
        let event = Event::new(0, self.instances.clone());
        Some(event.with_health(health).with_held_map(self.held.clone()))
    }
}
