//! A source whose states are set by hand.

use crate::instances::{
    Event, EventPublisher, EventReader, Events, Health, Instance, Instances, Source, Trouble,
};
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::time::Instant;

/// A [`Source`] whose states are set by hand.
///
/// It stands in for an [`Instancer`](crate::Instancer) in tests, and where instances are configured
/// rather than registered. It needs no runtime. A source that finds its instances by itself
/// publishes them through an [`EventPublisher`].
///
/// ```
/// use sd_core::{FixedInstancer, Instance, Key};
///
/// let source = FixedInstancer::new([
///     Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:8080"),
///     Instance::new(Key::new("/services/hello/b")?, "10.0.0.2:8080"),
/// ]);
/// source.remove("/services/hello/a");
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
    publisher: EventPublisher,
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

    /// A source that knows nothing yet. It has no state before the first change.
    pub fn unknown() -> Self {
        let (publisher, events) = EventPublisher::channel();
        Self {
            events,
            state: Mutex::new(Some(State {
                publisher,
                instances: Instances::default(),
                health: Health::Live,
            })),
        }
    }

    /// Replaces all instances. Instances that are equal to those before are kept.
    pub fn set(&self, instances: impl IntoIterator<Item = Instance>) {
        let newer = instances.into_iter().collect();
        self.change(|state| state.instances.update_to(&newer));
    }

    /// Adds `instance`, in place of the one under its key if there is one.
    pub fn insert(&self, instance: Instance) {
        self.change(|state| {
            state.instances.insert(instance);
        });
    }

    /// Removes the instance under `key`, if there is one.
    pub fn remove<K: AsRef<str> + ?Sized>(&self, key: &K) {
        self.change(|state| {
            state.instances.remove(key);
        });
    }

    /// Sets the health.
    pub fn set_health(&self, health: Health) {
        self.change(|state| state.health = health);
    }

    /// Makes the source stale from now on. If it is stale already, it stays so for its first
    /// reason.
    pub fn go_stale(&self, why: Trouble) {
        let now = Instant::now();
        self.change(|state| {
            if state.health.is_live() {
                state.health = Health::stale(now, why);
            }
        });
    }

    /// Ends all subscriptions after a last state that says so. Later changes do nothing.
    pub fn stop(&self) {
        let stopped = self.lock().take();
        drop(stopped);
    }

    /// The current state. Does not wait. `None` before the first change of an
    /// [`unknown`](Self::unknown) source.
    pub fn state(&self) -> Option<Event> {
        self.events.state()
    }

    /// The states from the current one on.
    pub fn subscribe(&self) -> Events {
        self.events.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // Published under the lock, so that states are published in the order of the changes.
        if let Some(state) = &mut *self.lock() {
            change(state);
            // The publisher counts the versions.
            let event = Event::new(0, state.instances.clone());
            state
                .publisher
                .publish(event.with_health(state.health.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
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
    use crate::{
        instances::testing::is_stopped,
        registry::{Error, Key},
    };
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
            assert!(is_stopped(&last));
            assert!(events.next().now_or_never().unwrap().is_none());
        }
    }
}
