//! The view of one consumer, compared with the registry.

use super::{
    consumer::FOLLOWING,
    mass_loss::{MANY, MassLoss},
    outages::Outages,
    registry_log::{RegistryLog, Version},
};
use sd_core::{
    Event, Health, Held, Instance, InstanceChange, Instances, Key, Prefix, Status, Trouble,
    WatchError,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// A consumer that became ready less than this ago may be between its first list and its first
/// watch, and has nothing to have trouble with.
const SETTLED: Duration = Duration::from_secs(10);
/// A removal is held for so many grace periods at most, as long as there are stalls and no other
/// trouble.
const MOST_GRACES: u32 = 3;

/// What happens is noticed so late at most.
const LOOKS: Duration = Duration::from_secs(1);

/// The view of one consumer.
///
/// For each key it is checked that the states that are shown follow each other as they did in the
/// registry, some of them left out: nothing is made up, nothing old comes back, nothing that is gone
/// is shown again unless it was put again.
///
/// More than half of three or more instances never go within a grace period, unless they were held for
/// that long. Those that announced it and went are not among them. What is gone is not shown for more than three grace periods, however
/// often the registry stalls.
pub(super) struct View {
    pub(super) prefix: Prefix,
    pub(super) grace: Duration,
    pub(super) started: Instant,
    ready: Option<Instant>,
    latest: Option<Event>,
    /// When it last showed other instances.
    pub(super) changed: Instant,
    /// For each key, the oldest version that may still be shown.
    floor: BTreeMap<Key, usize>,
    levels: VecDeque<Level>,
    /// What was shown when the newest trouble began, and has not gone since.
    stood: BTreeSet<Key>,
    /// How many went with the newest state.
    gone: Gone,
    mass_loss: MassLoss,
    ended: bool,
}

#[derive(Default)]
struct Gone {
    announced: BTreeSet<Key>,
    /// Neither announced nor held before.
    at_once: usize,
}

/// How many instances were there, as far as the consumer knew.
struct Level {
    /// The newest lasts until the next state is shown.
    until: Instant,
    count: usize,
    /// Those that have gone since, had announced it, and have not returned.
    announced: BTreeSet<Key>,
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
            changed: now,
            levels: VecDeque::new(),
            stood: BTreeSet::new(),
            gone: Gone::default(),
            mass_loss: MassLoss::default(),
            ended: false,
        }
    }

    pub(super) fn latest(&self) -> Option<&Event> {
        self.latest.as_ref()
    }

    /// How many instances have gone with the newest state that had announced it.
    pub(super) fn announced(&self) -> usize {
        self.gone.announced.len()
    }

    /// Whether it has shown its last state.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Since when it has shown something.
    pub(super) fn ready(&self) -> Option<Instant> {
        self.ready
    }

    /// All leases end now.
    pub(super) fn lose_all(&mut self, now: Instant) {
        if let Some(latest) = &self.latest {
            self.mass_loss.begin(latest, self.grace, now);
        }
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
                why: Trouble::Stopped | Trouble::Panicked { .. },
                ..
            }
        ) {
            self.ended = true;
        }
        let (before, held) = match &self.latest {
            Some(latest) if latest.version() >= event.version() => {
                return Err(format!(
                    "version {} after {}",
                    event.version(),
                    latest.version()
                ));
            }
            Some(latest) => (
                latest.instances().clone(),
                latest
                    .held()
                    .map(|(key, held)| (key.clone(), held.clone()))
                    .collect(),
            ),
            None => (Instances::default(), BTreeMap::new()),
        };
        let was_live = self.latest.as_ref().map(|latest| latest.health().is_live());
        // That it was stopped is no trouble of the registry, and what went just before was not doubted.
        let is_in_trouble = match event.health() {
            Health::Live => false,
            Health::Stale { why, .. } => !matches!(why, Trouble::Stopped),
        };
        if is_in_trouble && was_live != Some(false) {
            let stood = match was_live {
                Some(_) => &before,
                None => event.instances(),
            };
            self.stood = stood.iter().map(|it| it.key().clone()).collect();
        }
        let mut line = health(event.health()).to_owned();
        self.gone = Gone::default();
        for change in before.diff(event.instances()) {
            self.changed = now;
            line.push_str(&said(&change));
            match change {
                InstanceChange::Added(new) | InstanceChange::Updated { new, .. } => {
                    self.advance(new.key(), Some(&*new), registry_log)?;
                    for level in &mut self.levels {
                        level.announced.remove(new.key());
                    }
                }
                InstanceChange::Removed(old) => {
                    let floor = self.advance(old.key(), None, registry_log)?;
                    let versions = registry_log.versions(old.key());
                    let versions = versions.get(floor..).unwrap_or_default();
                    let announced = was_announced(versions);
                    // What came after the trouble was seen to come and go.
                    let stood = self.stood.remove(old.key());
                    if !announced && stood && self.must_hold(versions, outages, now) {
                        return Err(format!("{} was removed in doubt", old.key()));
                    }
                    match held.get(&old.identity()) {
                        _ if announced => {
                            self.gone.announced.insert(old.key().clone());
                        }
                        Some(held) if self.is_early(held, versions, now) => {
                            return Err(format!("{} was one of many and not held", old.key()));
                        }
                        Some(_) => {}
                        None => self.gone.at_once += 1,
                    }
                }
            }
        }
        let held: Vec<&str> = event.held().map(|(held, _)| held.key()).collect();
        if !held.is_empty() {
            line.push_str(&format!("; held: {}", held.join(" ")));
        }
        self.mass_loss.check(&event, self.announced(), now)?;
        self.ready.get_or_insert(now);
        self.latest = Some(event);
        Ok(line)
    }

    /// Whether a removal that was held as one of many did not wait for the grace period.
    fn is_early(&self, held: &Held, versions: &[Version], now: Instant) -> bool {
        let mut later = versions.iter().filter(|version| version.since > held.since);
        matches!(held.why, Trouble::ManyRemoved { .. })
            && now < held.since + self.grace
            && later.all(|version| version.instance.is_none())
    }

    /// Checks that what is shown now has not lost too many at once.
    pub(super) fn check_losses(&mut self, now: Instant) -> Result<(), String> {
        let Some(latest) = &self.latest else {
            return Ok(());
        };
        let (shown, held) = (latest.instances().len(), latest.held().len());
        if let Some(last) = self.levels.back_mut() {
            last.until = now;
        }
        let grace = self.grace;
        self.levels.retain(|level| now < level.until + grace);
        let known = self
            .levels
            .iter()
            .map(|it| it.count - it.announced.len().min(it.count));
        let most = known.max().unwrap_or_default();
        let (announced, at_once) = (self.announced(), self.gone.at_once);
        for level in &mut self.levels {
            level.announced.extend(self.gone.announced.iter().cloned());
        }
        self.levels.push_back(Level {
            until: now,
            count: shown - held,
            announced: BTreeSet::new(),
        });
        // Those who announced it may have gone before the others, or after them.
        let is_many = |most: usize, shown: usize| most >= MANY && 2 * shown < most;
        let of_rest = is_many(most.saturating_sub(announced), shown);
        if at_once > 0 && of_rest && is_many(most, shown + announced) {
            return Err(format!("{shown} instances are left of {most}"));
        }
        Ok(())
    }

    /// An instance that is shown although it has long been gone.
    pub(super) fn undead(&self, registry_log: &RegistryLog, untroubled: Instant) -> Option<&Key> {
        let most = MOST_GRACES * self.grace + FOLLOWING;
        let keys = self.latest.iter().flat_map(|it| it.instances().iter());
        let mut keys = keys.map(|instance| instance.key());
        keys.find(|key| {
            let last = registry_log.versions(key).last();
            let since = last
                .filter(|version| version.instance.is_none())
                .map(|gone| gone.since.max(untroubled).max(self.started));
            since.is_some_and(|since| since.elapsed() > most)
        })
    }

    /// Finds `shown` among what the key held since what was shown before, and gives where that was.
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

    /// Whether the removal of something that is among `versions` should have waited.
    fn must_hold(&self, versions: &[Version], outages: &Outages, now: Instant) -> bool {
        // Trouble that recurs for ever holds no removal for ever.
        let removed = versions.iter().find(|version| version.instance.is_none());
        let was_held_long = removed.is_some_and(|version| {
            let held_for = now.saturating_duration_since(version.since) + LOOKS;
            held_for >= self.grace.saturating_mul(2)
        });
        let ready = self
            .ready
            .filter(|_| !self.grace.is_zero() && !was_held_long);
        ready.is_some_and(|ready| outages.must_hold_removals(ready + SETTLED, self.grace, now))
    }
}

/// Whether one of `versions` said that it was going.
fn was_announced(versions: &[Version]) -> bool {
    versions
        .iter()
        .filter_map(|version| version.instance.as_ref())
        .any(|instance| instance.status() == Status::Draining)
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
