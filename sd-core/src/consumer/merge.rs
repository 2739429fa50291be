//! Several sources seen as one.

use super::cache::{EventCache, EventReader};
use crate::{
    instances::{Event, Events, Health, Held, InstanceChange, Instances, Source, Trouble},
    registry::{Error, Key},
};
use futures::{FutureExt, StreamExt, future, stream};
use imbl::OrdMap;
use std::{collections::BTreeSet, fmt};
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// So many states of its sources become one at most.
const STATES_AT_ONCE: usize = 256;

/// The union of several sources, such as two prefixes or the registries of two data centres.
///
/// - Where several know a key, the first of them wins, but one whose registry has removed it, so
///   that it is [held](Event::held), comes after all that still have it.
/// - It is stale while any of its sources is, since the earliest of them.
/// - One change of a source costs one change of the union.
///
/// ```
/// use futures::StreamExt;
/// use sd_core::{FixedInstancer, Instance, Key, MergedInstancer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sd_core::Invalid> {
/// let near = FixedInstancer::new([Instance::new(Key::new("/eu/hello/a")?, "10.0.0.1:80")]);
/// let far = FixedInstancer::new([Instance::new(Key::new("/us/hello/a")?, "10.9.0.1:80")]);
///
/// let both = MergedInstancer::new([near, far]);
/// let event = both.subscribe().next().await;
/// assert_eq!(event.map(|event| event.instances().len()), Some(2));
/// # Ok(())
/// # }
/// ```
///
/// It owns its sources (sources of different types go in as `Arc<dyn Source>`) and one task.
/// Stopping or dropping it drops the sources and ends all subscriptions after a last state that says
/// so. To stop a source and wait for that, keep an [`Arc`](std::sync::Arc) of it. When all sources
/// have ended, so has this one.
pub struct MergedInstancer {
    events: EventReader,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl MergedInstancer {
    /// The union of `sources`, known once all of them are: what is shown is never only a part.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new<S: Source>(sources: impl IntoIterator<Item = S>) -> Self {
        Self::start(sources, false)
    }

    /// The union of `sources`, known once any of them is, for those who would rather begin with one
    /// data centre than with none. It is stale until all of them are known.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn partial<S: Source>(sources: impl IntoIterator<Item = S>) -> Self {
        Self::start(sources, true)
    }

    /// The current state; `None` while it is not known.
    pub fn state(&self) -> Option<Event> {
        self.events.state()
    }

    /// The states from the current one on.
    pub fn subscribe(&self) -> Events {
        self.events.subscribe()
    }

    /// Ends all subscriptions after a last state that says so, and waits until it is done. Later
    /// calls do nothing more.
    ///
    /// Cancellation safe: what is dropped is the wait, not the stop.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    fn start<S: Source>(sources: impl IntoIterator<Item = S>, partial: bool) -> Self {
        let cache = EventCache::new();
        let events = cache.reader();
        let sources: Vec<Box<dyn Source>> = sources
            .into_iter()
            .map(|source| Box::new(source) as Box<dyn Source>)
            .collect();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(follow(sources, Union::new(partial), cache, stop.clone()));
        tasks.close();
        Self {
            events,
            tasks,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }
}

impl Source for MergedInstancer {
    fn subscribe(&self) -> Events {
        self.subscribe()
    }

    fn state(&self) -> Option<Event> {
        self.state()
    }
}

impl fmt::Debug for MergedInstancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergedInstancer")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The task: feeds the sources' states to the union and publishes what comes of it. Dropping the
/// cache at its end publishes the last state.
async fn follow(
    sources: Vec<Box<dyn Source>>,
    mut union: Union,
    cache: EventCache,
    stop: CancellationToken,
) {
    let since = Instant::now();
    union.parts = sources.iter().map(|_| Part::Unknown { since }).collect();
    let states = sources.iter().enumerate().map(|(index, source)| {
        source
            .subscribe()
            .map(move |event| (index, Some(event)))
            .chain(stream::once(future::ready((index, None))))
    });
    let mut states = stream::select_all(states);
    let merge = async {
        while let Some((index, event)) = states.next().await {
            union.update(index, event, Instant::now());
            for _ in 1..STATES_AT_ONCE {
                let Some(Some((index, event))) = states.next().now_or_never() else {
                    break;
                };
                union.update(index, event, Instant::now());
            }
            if let Some(event) = union.event() {
                cache.publish(event);
            }
            tokio::task::consume_budget().await;
        }
    };
    stop.run_until_cancelled(merge).await;
}

/// What the sources know together; without I/O.
struct Union {
    partial: bool,
    parts: Vec<Part>,
    instances: Instances,
    held: OrdMap<Key, Held>,
    version: u64,
}

/// What one source knows.
enum Part {
    /// Nothing yet.
    Unknown { since: Instant },
    /// It ended before it knew anything.
    Ended { since: Instant },
    /// This.
    Known(Event),
}

impl Part {
    fn event(&self) -> Option<&Event> {
        match self {
            Self::Known(event) => Some(event),
            Self::Unknown { .. } | Self::Ended { .. } => None,
        }
    }

    fn health(&self, index: usize) -> Health {
        match self {
            Self::Known(event) => event.health.clone(),
            Self::Ended { since } => Health::Stale {
                since: *since,
                why: Trouble::Stopped,
            },
            Self::Unknown { since } => Health::Stale {
                since: *since,
                why: Trouble::List(Error::unavailable(format!(
                    "source {index} knows nothing yet"
                ))),
            },
        }
    }
}

impl Union {
    fn new(partial: bool) -> Self {
        Self {
            partial,
            parts: Vec::new(),
            instances: Instances::default(),
            held: OrdMap::new(),
            version: 0,
        }
    }

    /// The source `index` has a new state, or has ended.
    fn update(&mut self, index: usize, event: Option<Event>, now: Instant) {
        let Some(part) = self.parts.get_mut(index) else {
            return;
        };
        let Some(event) = event else {
            if let Part::Unknown { .. } = part {
                *part = Part::Ended { since: now };
            }
            return;
        };
        let (instances, held) = match part.event() {
            Some(old) => (old.instances.clone(), old.held.clone()),
            None => Default::default(),
        };
        let mut keys: BTreeSet<Key> = instances
            .diff(&event.instances)
            .map(|change| match change {
                InstanceChange::Added(of) | InstanceChange::Removed(of) => of.key().clone(),
                InstanceChange::Updated { new, .. } => new.key().clone(),
            })
            .collect();
        if !held.ptr_eq(&event.held) {
            keys.extend(held.keys().chain(event.held.keys()).cloned());
        }
        *part = Part::Known(event);
        for key in keys {
            self.choose(key);
        }
    }

    /// Shows under `key` what the first of those who know it says.
    fn choose(&mut self, key: Key) {
        let known = || {
            self.parts.iter().filter_map(|part| {
                let event = part.event()?;
                Some((event.instances.get(&key)?, event.held.get(&key)))
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

    /// The next state, if enough is known for one.
    fn event(&mut self) -> Option<Event> {
        let is_unknown = |part: &Part| matches!(part, Part::Unknown { .. });
        let too_little = if self.partial {
            self.parts.iter().all(is_unknown)
        } else {
            self.parts.iter().any(is_unknown)
        };
        if too_little {
            return None;
        }
        let stale = |(index, part): (usize, &Part)| match part.health(index) {
            Health::Stale { since, why } => Some((since, why)),
            Health::Live => None,
        };
        let health = self
            .parts
            .iter()
            .enumerate()
            .filter_map(stale)
            .min_by_key(|(since, _)| *since)
            .map_or(Health::Live, |(since, why)| Health::Stale { since, why });
        self.version += 1;
        Some(Event {
            version: self.version,
            instances: self.instances.clone(),
            health,
            held: self.held.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
