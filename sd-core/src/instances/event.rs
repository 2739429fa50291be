//! Events: the successive states of a source.

use super::{
    health::{Health, Trouble},
    held::Held,
    instance_key::InstanceKey,
    set::Instances,
};
use crate::registry::ErrorChain;
use imbl::OrdMap;
use std::fmt;
use tokio::time::Instant;

/// One state of a source: the instances, and whether they are up to date. Cheap to clone.
///
/// [`Display`](fmt::Display) prints its [summary](Self::summary), for logs. Your own source makes
/// events with [`new`](Self::new) and publishes them through an
/// [`EventPublisher`](crate::EventPublisher).
///
/// ```
/// use sd_core::{Event, Instance, Instances, Key};
///
/// let instance = Instance::new(Key::new("/services/hello/a")?, "10.0.0.1:80");
/// let event = Event::new(1, Instances::from_iter([instance]));
/// assert!(event.health().is_live());
/// assert_eq!(event.to_string(), "version 1: 1 instance, live");
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) version: u64,
    instances: Instances,
    health: Health,
    held: OrdMap<InstanceKey, Held>,
    unreadable: usize,
}

impl Event {
    /// A live state without held removals.
    pub fn new(version: u64, instances: Instances) -> Self {
        Self {
            version,
            instances,
            health: Health::Live,
            held: OrdMap::new(),
            unreadable: 0,
        }
    }

    /// The same state with this health.
    #[must_use]
    pub fn with_health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// The same state with these held removals. Their instances must be among the event's
    /// instances.
    #[must_use]
    pub fn with_held(mut self, held: impl IntoIterator<Item = (InstanceKey, Held)>) -> Self {
        self.held = held.into_iter().collect();
        self
    }

    /// The same state with so many entries that cannot be read.
    #[must_use]
    pub fn with_unreadable(mut self, entries: usize) -> Self {
        self.unreadable = entries;
        self
    }

    /// [`with_held`](Self::with_held) without a copy.
    pub(crate) fn with_held_map(mut self, held: OrdMap<InstanceKey, Held>) -> Self {
        self.held = held;
        self
    }

    /// The number of this state; a later state of the same source has a greater one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The instances, [held](Self::held) ones included. An outage of the registry does not empty
    /// the set.
    pub fn instances(&self) -> &Instances {
        &self.instances
    }

    /// Whether the source follows its registry.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The instances that the registry has removed but that are still shown, with the reason.
    pub fn held(&self) -> impl ExactSizeIterator<Item = (&InstanceKey, &Held)> {
        self.held.iter()
    }

    pub(crate) fn held_map(&self) -> &OrdMap<InstanceKey, Held> {
        &self.held
    }

    /// How many entries the registry has that cannot be read. They are not among the
    /// [instances](Self::instances), unless their last value could be read and its removal is
    /// [held](Self::held). An [`Instancer`](crate::Instancer) counts up to 1,024.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// The numbers of this state, for logs and status pages.
    pub fn summary(&self) -> EventSummary {
        EventSummary {
            version: self.version,
            instances: self.instances.len(),
            held: self.held.len(),
            unreadable: self.unreadable,
            stale: match &self.health {
                Health::Live => None,
                Health::Stale { why, .. } => Some(ErrorChain(why).to_string()),
            },
        }
    }

    /// The last state of a source that has ended because of `why`: the next version, stale, with
    /// the same instances. A state that was stale already keeps its `since`.
    pub(super) fn ended(self, why: Trouble, now: Instant) -> Self {
        let since = match self.health {
            Health::Live => now,
            Health::Stale { since, .. } => since,
        };
        Self {
            version: self.version + 1,
            health: Health::Stale { since, why },
            ..self
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
}

/// The numbers of an [`Event`] without its instances, for logs and status pages.
///
/// ```
/// use sd_core::{Event, Instances};
///
/// let summary = Event::new(7, Instances::default()).summary();
/// assert_eq!((summary.version, summary.instances, summary.held), (7, 0, 0));
/// assert_eq!(summary.to_string(), "version 7: 0 instances, live");
/// ```
///
/// # JSON
/// With the feature `serde` a summary can be sent. The form is stable; a live source has no
/// `stale`, and one without unreadable entries no `unreadable`.
///
/// ```json
/// {"version":7,"instances":3,"held":1,"stale":"the watch was interrupted: broken pipe"}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct EventSummary {
    /// The event's version.
    pub version: u64,
    /// How many instances there are, held ones included.
    pub instances: usize,
    /// How many of them are held.
    #[cfg_attr(feature = "serde", serde(default))]
    pub held: usize,
    /// How many entries cannot be read.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_zero"))]
    pub unreadable: usize,
    /// Why the source is stale, with all causes; `None` if it is live.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub stale: Option<String>,
}

#[cfg(feature = "serde")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// `version 7: 3 instances, 1 held, 2 unreadable, stale: ...`
impl fmt::Display for EventSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.instances == 1 { "" } else { "s" };
        write!(f, "version {}: ", self.version)?;
        write!(f, "{} instance{plural}, ", self.instances)?;
        if self.held > 0 {
            write!(f, "{} held, ", self.held)?;
        }
        if self.unreadable > 0 {
            write!(f, "{} unreadable, ", self.unreadable)?;
        }
        match &self.stale {
            None => f.write_str("live"),
            Some(why) => write!(f, "stale: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        instances::Instance,
        registry::{Error, Key},
    };

    #[test]
    fn a_summary_says_what_an_operator_asks_for() {
        let key = |name| Key::new(name).unwrap();
        let instances = ["a", "b"].map(|name| Instance::new(key(name), "h:1"));
        let now = Instant::now();
        let why = Trouble::List(Error::unavailable("refused"));
        let event = Event::new(7, instances.into_iter().collect())
            .with_health(Health::stale(now, why.clone()))
            .with_held([(key("a").into(), Held::new(now, why))])
            .with_unreadable(3);
        assert_eq!(
            event.to_string(),
            "version 7: 2 instances, 1 held, 3 unreadable, \
             stale: listing failed: the registry is unavailable: refused"
        );
        let summary = event.summary();
        assert_eq!(
            (summary.instances, summary.held, summary.unreadable),
            (2, 1, 3)
        );
        let empty = Event::new(1, Instances::default());
        assert_eq!(empty.to_string(), "version 1: 0 instances, live");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_summary_can_be_sent() {
        let summary = Event::new(1, Instances::default()).summary();
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(json, r#"{"version":1,"instances":0,"held":0}"#);
        let read: EventSummary = serde_json::from_str(&json).unwrap();
        assert_eq!(read, summary);
    }
}
