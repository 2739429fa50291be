//! A source that says what it is told: for tests, and for sources of one's own.

use super::cache::{EventCache, EventReader};
use crate::{
    instances::{Event, Events, Health, Instance, Instances, Source, Trouble},
    registry::Key,
};
use imbl::OrdMap;
use std::{
    fmt,
    sync::{Mutex, PoisonError},
};
use tokio::time::Instant;

/// A [`Source`] whose states are set by hand.
///
/// Stands in for an [`Instancer`](crate::Instancer) where instances are configured rather than
/// registered, in tests, and behind a `Source` of one's own that gets its instances elsewhere: it
/// fans states out in the same way, and its changes cost as little as there is to change. It needs
/// no runtime.
///
/// ```
/// use sd_core::{FixedInstancer, Instance, Key, Source};
///
/// let source = FixedInstancer::new([
///     Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080"),
///     Instance::new(Key::new("/services/hello/b")?, "10.0.0.2:8080"),
/// ]);
/// source.remove(&Key::new("/services/hello/a")?);
/// assert_eq!(source.state().map(|event| event.instances().len()), Some(1));
/// # Ok::<(), sd_core::Invalid>(())
/// ```
///
/// Stopping or dropping it ends all subscriptions after a last state that says so.
pub struct FixedInstancer {
    events: EventReader,
    // `None` once stopped.
    state: Mutex<Option<State>>,
}

struct State {
    cache: EventCache,
    version: u64,
    instances: Instances,
    health: Health,
}

impl FixedInstancer {
    /// A live source with these instances; the last under a key wins.
    pub fn new(instances: impl IntoIterator<Item = Instance>) -> Self {
        let source = Self::unknown();
        source.set(instances);
        source
    }

    /// A source that knows nothing yet and has no state, until it is told.
    pub fn unknown() -> Self {
        let cache = EventCache::new();
        Self {
            events: cache.reader(),
            state: Mutex::new(Some(State {
                cache,
                version: 0,
                instances: Instances::default(),
                health: Health::Live,
            })),
        }
    }

    /// Replaces all instances; those that are equal to what was there stay what they are.
    pub fn set(&self, instances: impl IntoIterator<Item = Instance>) {
        let wanted: Instances = instances.into_iter().collect();
        self.change(|state| {
            let old = state.instances.clone();
            for change in old.diff(&wanted) {
                match change {
                    crate::instances::InstanceChange::Added(new)
                    | crate::instances::InstanceChange::Updated { new, .. } => {
                        state.instances.insert(new.clone());
                    }
                    crate::instances::InstanceChange::Removed(old) => {
                        state.instances.remove(old.key());
                    }
                }
            }
        });
    }

    /// Adds `instance`, or puts it in the place of the one under its key.
    pub fn insert(&self, instance: Instance) {
        self.change(|state| {
            state.instances.insert(instance.into());
        });
    }

    /// Removes the instance under `key`, if there is one.
    pub fn remove(&self, key: &Key) {
        self.change(|state| {
            state.instances.remove(key);
        });
    }

    /// Says whether the instances are up to date.
    pub fn set_health(&self, health: Health) {
        self.change(|state| state.health = health);
    }

    /// Says that the instances are not up to date from now on; if they are not already, since then.
    pub fn go_stale(&self, why: Trouble) {
        let now = Instant::now();
        self.change(|state| {
            if state.health.is_live() {
                state.health = Health::Stale { since: now, why };
            }
        });
    }

    /// Ends all subscriptions after a last state that says so. Nothing can be changed from then on.
    pub fn stop(&self) {
        let stopped = self.lock().take();
        drop(stopped);
    }

    /// The current state; `None` if it knows nothing yet.
    pub fn state(&self) -> Option<Event> {
        self.events.state()
    }

    /// The states from the current one on.
    pub fn subscribe(&self) -> Events {
        self.events.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // Published under the lock, so that the order of the versions is that of the changes.
        if let Some(state) = &mut *self.lock() {
            change(state);
            state.version += 1;
            state.cache.publish(Event {
                version: state.version,
                instances: state.instances.clone(),
                health: state.health.clone(),
                held: OrdMap::new(),
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for FixedInstancer {
    fn subscribe(&self) -> Events {
        self.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.state()
    }
}

impl fmt::Debug for FixedInstancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedInstancer")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Error;
    use futures::{FutureExt, StreamExt};
    use std::sync::Arc;

    fn key(name: &str) -> Key {
        Key::new(name).unwrap()
    }

    fn instance(name: &str) -> Instance {
        Instance::new(key(name), "h:1")
    }

    #[test]
    fn every_change_is_a_new_version() {
        let source = FixedInstancer::new([instance("a")]);
        let mut events = source.subscribe();
        let first = events.next().now_or_never().flatten().unwrap();
        assert_eq!((first.version(), first.instances().len()), (1, 1));
        source.insert(instance("b"));
        let second = events.next().now_or_never().flatten().unwrap();
        assert_eq!((second.version(), second.instances().len()), (2, 2));
        source.remove(&key("a"));
        source.set([]);
        let newest = events.next().now_or_never().flatten().unwrap();
        assert_eq!((newest.version(), newest.instances().len()), (4, 0));
        assert!(events.next().now_or_never().is_none());
    }

    #[test]
    fn what_is_set_again_unchanged_stays_what_it_is() {
        let source = FixedInstancer::new([instance("a"), instance("b")]);
        let before = source.state().unwrap();
        source.set([instance("a"), instance("b").with_weight(2)]);
        let after = source.state().unwrap();
        let same = |name| {
            let name = key(name);
            let (before, after) = (before.instances().get(&name), after.instances().get(&name));
            Arc::ptr_eq(before.unwrap(), after.unwrap())
        };
        assert!(same("a"));
        assert!(!same("b"));
    }

    #[test]
    fn an_unknown_source_has_no_state_until_it_is_told() {
        let source = FixedInstancer::unknown();
        let mut events = source.subscribe();
        assert!(source.state().is_none());
        assert!(events.next().now_or_never().is_none());
        source.set([]);
        let first = events.next().now_or_never().flatten().unwrap();
        assert!(first.instances().is_empty());
    }

    #[test]
    fn staleness_keeps_its_first_reason_until_it_is_over() {
        let source = FixedInstancer::new([instance("a")]);
        let why = || source.state().map(|event| format!("{:?}", event.health()));
        source.go_stale(Trouble::List(Error::unavailable("first")));
        source.go_stale(Trouble::List(Error::unavailable("second")));
        assert!(why().unwrap().contains("first"));
        assert_eq!(source.state().unwrap().instances().len(), 1);
        source.set_health(Health::Live);
        assert!(source.state().unwrap().health().is_live());
    }

    #[test]
    fn a_stop_ends_the_streams_after_a_last_state() {
        let source = FixedInstancer::new([instance("a")]);
        let mut events = source.subscribe();
        let mut dropped = FixedInstancer::new([instance("a")]).subscribe();
        source.stop();
        source.stop();
        source.set([]);
        for events in [&mut events, &mut dropped] {
            let last = events.next().now_or_never().flatten().unwrap();
            assert_eq!(last.instances().len(), 1);
            assert!(matches!(
                last.health(),
                Health::Stale {
                    why: Trouble::Stopped,
                    ..
                }
            ));
            assert!(events.next().now_or_never().unwrap().is_none());
        }
    }
}
