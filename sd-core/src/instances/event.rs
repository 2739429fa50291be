//! Events: what is known of a service's instances, version by version.

use super::instance::Instance;
use crate::registry::{Error, Key, WatchError};
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{sync::watch, time::Instant};

/// A set of instances, in the order of their keys.
///
/// Immutable and cheap to clone, whatever its size: versions share all they have in common (a
/// persistent B-tree), and [`diff`](Self::diff) looks only at what they do not share.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Instances(OrdMap<Key, Arc<Instance>>);

impl Instances {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The instance registered under `key`.
    pub fn get(&self, key: &Key) -> Option<&Arc<Instance>> {
        self.0.get(key)
    }

    /// All instances in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.0.values()
    }

    /// What changed from `self` to `newer`, in the order of the keys. Costs as much as there is to
    /// report, not as much as there is, where one was made from the other.
    pub fn diff<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = InstanceChange<'a>> {
        self.0.diff(&newer.0).map(|item| match item {
            DiffItem::Add(_, new) => InstanceChange::Added(new),
            DiffItem::Update { old, new } => InstanceChange::Updated {
                old: old.1,
                new: new.1,
            },
            DiffItem::Remove(_, old) => InstanceChange::Removed(old),
        })
    }

    /// Adds `instance`, or puts it in the place of the one under its key; gives back the latter.
    pub(crate) fn insert(&mut self, instance: Arc<Instance>) -> Option<Arc<Instance>> {
        self.0.insert(instance.key().clone(), instance)
    }

    /// Removes the instance under `key`.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Instance>> {
        self.0.remove(key)
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The last instance under a key wins.
impl FromIterator<Instance> for Instances {
    fn from_iter<I: IntoIterator<Item = Instance>>(instances: I) -> Self {
        instances.into_iter().map(Arc::new).collect()
    }
}

/// The last instance under a key wins.
impl FromIterator<Arc<Instance>> for Instances {
    fn from_iter<I: IntoIterator<Item = Arc<Instance>>>(instances: I) -> Self {
        Self(
            instances
                .into_iter()
                .map(|instance| (instance.key().clone(), instance))
                .collect(),
        )
    }
}

/// One difference between two sets of instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceChange<'a> {
    /// There is one more.
    Added(&'a Arc<Instance>),
    /// The one under this key changed.
    Updated {
        /// What it was.
        old: &'a Arc<Instance>,
        /// What it is.
        new: &'a Arc<Instance>,
    },
    /// It is gone.
    Removed(&'a Arc<Instance>),
}

/// What kept a source from following its registry: the phase that failed, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The instances could not be listed.
    #[error("listing failed")]
    List(#[source] Error),
    /// The watch has no news.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The source was stopped.
    #[error("stopped")]
    Stopped,
    /// Its task panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
}

/// Whether a source follows its registry at the moment.
#[derive(Debug, Clone)]
pub enum Health {
    /// What it shows is what the registry holds.
    Live,
    /// What it shows is what it last knew.
    Stale {
        /// Since when.
        since: Instant,
        /// What happened; the first of several things in a row.
        why: Trouble,
    },
}

impl Health {
    /// Whether the source follows its registry.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }
}

/// An instance that the registry has removed and that is shown for a while all the same, because
/// the registry was in trouble before: see [`Instancer`](crate::Instancer).
#[derive(Debug, Clone)]
pub struct Held {
    /// When the registry said that it is gone.
    pub since: Instant,
    /// The trouble that makes its removal doubtful.
    pub why: Trouble,
}

/// What a source knows: the instances, and how far they can be relied on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Event {
    pub(crate) version: u64,
    pub(crate) instances: Instances,
    pub(crate) health: Health,
    pub(crate) held: OrdMap<Key, Held>,
}

impl Event {
    /// Counts the states of this source; a later one has a greater version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The instances, those that are [held](Self::held) included. Trouble with the registry never
    /// empties them.
    pub fn instances(&self) -> &Instances {
        &self.instances
    }

    /// Whether the source follows its registry.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Those of the instances that the registry no longer holds, and that go when it has been
    /// healthy for the grace period.
    pub fn held(&self) -> impl ExactSizeIterator<Item = (&Key, &Held)> {
        self.held.iter()
    }

    /// The next and last state: the same, and the source has stopped. One that was stale before has
    /// been so for as long as it says.
    pub(crate) fn stopped(self, now: Instant) -> Self {
        let since = match self.health {
            Health::Live => now,
            Health::Stale { since, .. } => since,
        };
        Self {
            version: self.version + 1,
            health: Health::Stale {
                since,
                why: Trouble::Stopped,
            },
            ..self
        }
    }
}

/// A subscription: the current state first, as soon as there is one, then every newer one.
///
/// Who reads slowly skips the states in between and gets the newest; nothing is queued, nobody is
/// held up. The stream ends when its source is stopped or dropped, after a last state that says so.
/// Dropping it leaves nothing behind.
#[must_use = "streams do nothing unless polled"]
pub struct Events {
    receiver: watch::Receiver<Option<Event>>,
    stream: BoxStream<'static, Event>,
}

impl Events {
    pub(crate) fn new(receiver: watch::Receiver<Option<Event>>) -> Self {
        let mut unseen = receiver.clone();
        unseen.mark_changed();
        let stream = stream::unfold(unseen, async |mut receiver| {
            loop {
                receiver.changed().await.ok()?;
                let event = receiver.borrow_and_update().clone();
                if let Some(event) = event {
                    return Some((event, receiver));
                }
            }
        });
        Self {
            receiver,
            stream: stream.boxed(),
        }
    }

    /// The newest state, read or not; `None` before the first.
    pub fn latest(&self) -> Option<Event> {
        self.receiver.borrow().clone()
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.stream.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Whatever knows the instances of a service: an [`Instancer`](crate::Instancer), a
/// [`FixedInstancer`](crate::FixedInstancer), several of them together, or your own.
pub trait Source: Send + Sync + 'static {
    /// The states from the current one on.
    fn subscribe(&self) -> Events;

    /// The current state; `None` while nothing is known yet, which is not the same as knowing that
    /// there is no instance.
    fn state(&self) -> Option<Event>;
}

impl<S: Source + ?Sized> Source for Arc<S> {
    fn subscribe(&self) -> Events {
        (**self).subscribe()
    }

    fn state(&self) -> Option<Event> {
        (**self).state()
    }
}
