//! The view of one consumer, compared with the registry.

use super::{outages::Outages, registry_log::RegistryLog};
use sd_core::{
    Event, Health, Instance, InstanceChange, Instances, Key, Prefix, Status, Trouble, WatchError,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// A consumer that became ready less than this ago may be between its first list and its first
/// watch, and has nothing to have trouble with.
const SETTLED: Duration = Duration::from_secs(10);

/// The view of one consumer.
///
/// For each key, the shown states must be states of the registry, in the same order; some may be
/// left out. So nothing is made up, no old value comes back, and nothing that is gone is shown
/// again unless it was put again.
pub(super) struct View {
    pub(super) prefix: Prefix,
    pub(super) grace: Duration,
    pub(super) started: Instant,
    ready: Option<Instant>,
    latest: Option<Event>,
    /// For each key, the oldest version that may still be shown.
    floor: BTreeMap<Key, usize>,
    ended: bool,
}

impl View {
    /// The view of a consumer that begins to follow now.
    pub(super) fn new(
        prefix: Prefix,
        grace: Duration,
        registry_log: &RegistryLog,
        now: Instant,
    ) -> Self {
        Self {
            floor: registry_log.floor(&prefix),
            prefix,
            grace,
            started: now,
            ready: None,
            latest: None,
            ended: false,
        }
    }

    pub(super) fn latest(&self) -> Option<&Event> {
        self.latest.as_ref()
    }

    /// When it showed its first state.
    pub(super) fn ready(&self) -> Option<Instant> {
        self.ready
    }

    /// Takes a new state. Returns what changed, or the broken promise.
    pub(super) fn show(
        &mut self,
        event: Event,
        registry_log: &RegistryLog,
        outages: &Outages,
        now: Instant,
    ) -> Result<String, String> {
        if self.ended {
            return Err("a state after the last one".into());
        }
        if matches!(
            event.health(),
            Health::Stale {
                why: Trouble::Stopped,
                ..
            }
        ) {
            self.ended = true;
        }
        let before = match &self.latest {
            Some(latest) if latest.version() >= event.version() => {
                return Err(format!(
                    "version {} after {}",
                    event.version(),
                    latest.version()
                ));
            }
            Some(latest) => latest.instances().clone(),
            None => Instances::default(),
        };
        let mut line = health(event.health()).to_owned();
        for change in before.diff(event.instances()) {
            line.push_str(&said(&change));
            match change {
                InstanceChange::Added(new) | InstanceChange::Updated { new, .. } => {
                    self.advance(new.key(), Some(&*new), registry_log)?;
                }
                InstanceChange::Removed(old) => {
                    let floor = self.advance(old.key(), None, registry_log)?;
                    if self.must_hold(old.key(), floor, registry_log, outages, now) {
                        return Err(format!("{} was removed in doubt", old.key()));
                    }
                }
            }
        }
        let held: Vec<_> = event.held().map(|(key, _)| key.as_str()).collect();
        if !held.is_empty() {
            line.push_str(&format!("; held: {}", held.join(" ")));
        }
        self.ready.get_or_insert(now);
        self.latest = Some(event);
        Ok(line)
    }

    /// Finds `shown` among the versions of the key since the one that was shown before, and returns
    /// its index.
    fn advance(
        &mut self,
        key: &Key,
        shown: Option<&Instance>,
        registry_log: &RegistryLog,
    ) -> Result<usize, String> {
        let floor = self.floor.entry(key.clone()).or_default();
        let before = *floor;
        let versions = registry_log.versions(key).get(before..).unwrap_or_default();
        let found = versions
            .iter()
            .position(|version| version.instance.as_ref() == shown);
        // Before its first version, the key had no value.
        let Some(found) = found else {
            return Err(match shown {
                Some(shown) => format!(
                    "{key} is shown at {} with weight {}, which the registry has not held since \
                     what was shown before",
                    shown.address(),
                    shown.weight()
                ),
                None => format!("{key} is not shown any more, but was never removed"),
            });
        };
        *floor += found;
        Ok(before)
    }

    /// Whether the removal of `key` should have waited.
    fn must_hold(
        &self,
        key: &Key,
        floor: usize,
        registry_log: &RegistryLog,
        outages: &Outages,
        now: Instant,
    ) -> bool {
        let versions = registry_log.versions(key).get(floor..).unwrap_or_default();
        let was_announced = versions
            .iter()
            .filter_map(|version| version.instance.as_ref())
            .any(|instance| instance.status() == Status::Draining);
        let Some(ready) = self.ready else {
            return false;
        };
        !self.grace.is_zero()
            && !was_announced
            && outages.must_hold_removals(ready + SETTLED, self.grace, now)
    }
}

fn health(health: &Health) -> &'static str {
    match health {
        Health::Live => "live",
        Health::Stale { why, .. } => match why {
            Trouble::List(_) => "stale (list failed)",
            Trouble::Watch(WatchError::Disrupted(_)) => "stale (disrupted)",
            Trouble::Watch(WatchError::Interrupted(_)) => "stale (interrupted)",
            Trouble::Watch(WatchError::Gap(_)) => "stale (gap)",
            Trouble::Stopped => "stopped",
            _ => "stale",
        },
    }
}

fn said(change: &InstanceChange) -> String {
    match change {
        InstanceChange::Added(new) => format!(" +{}", brief(new)),
        InstanceChange::Updated { new, .. } => format!(" ~{}", brief(new)),
        InstanceChange::Removed(old) => format!(" -{}", old.key()),
    }
}

fn brief(instance: &Instance) -> String {
    let draining = match instance.status() {
        Status::Draining => " draining",
        _ => "",
    };
    let (key, address, weight) = (instance.key(), instance.address(), instance.weight());
    format!("{key}={address}*{weight}{draining}")
}
