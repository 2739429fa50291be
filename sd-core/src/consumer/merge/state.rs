//! The union of several sources, as a state machine without I/O.

use super::members::{MemberId, ReadyWhen};
use crate::{
    instances::{Event, Health, Held, Instance, InstanceKey, Instances, Trouble},
    registry::Error,
};
use imbl::OrdMap;
use std::{collections::BTreeSet, sync::Arc};
use tokio::time::Instant;

/// The union of the members' states, without I/O.
pub(super) struct MergeState {
    ready_when: ReadyWhen,
    /// In the order in which they were added.
    members: Vec<Member>,
    instances: Instances,
    held: OrdMap<InstanceKey, Held>,
    /// What was published last, or was to be.
    published: Option<Published>,
    /// Whether something may have changed since.
    changed: bool,
}

struct Member {
    id: MemberId,
    name: Arc<str>,
    state: MemberState,
}

/// The state of one member.
enum MemberState {
    /// It has no state yet.
    Unknown,
    /// It ended before it had a state.
    Ended { since: Instant },
    /// Its newest state.
    Known(Event),
}

struct Published {
    instances: Instances,
    held: OrdMap<InstanceKey, Held>,
    health: Health,
    unreadable: usize,
}

impl Member {
    fn event(&self) -> Option<&Event> {
        match &self.state {
            MemberState::Known(event) => Some(event),
            MemberState::Unknown | MemberState::Ended { .. } => None,
        }
    }

    fn is_unknown(&self) -> bool {
        matches!(self.state, MemberState::Unknown)
    }

    fn is_live(&self) -> bool {
        self.event().is_some_and(|event| event.health().is_live())
    }

    /// Since when it is stale, and why. `None` if it is live, or was never anything.
    fn stale(&self) -> Option<(Instant, Trouble)> {
        match &self.state {
            MemberState::Unknown => None,
            MemberState::Ended { since } => Some((*since, Trouble::Stopped)),
            MemberState::Known(event) => match event.health() {
                Health::Live => None,
                Health::Stale { since, why } => Some((*since, why.clone())),
            },
        }
    }
}

impl MergeState {
    /// The union of no members.
    pub(super) fn new(ready_when: ReadyWhen) -> Self {
        Self {
            ready_when,
            members: Vec::new(),
            instances: Instances::default(),
            held: OrdMap::new(),
            published: None,
            changed: true,
        }
    }

    /// These are the members from now on. What only others had goes.
    pub(super) fn set_members<'a>(
        &mut self,
        members: impl Iterator<Item = (MemberId, &'a Arc<str>)>,
    ) {
        let mut before = std::mem::take(&mut self.members);
        for (id, name) in members {
            let known = before.iter().position(|member| member.id == id);
            self.members.push(match known {
                Some(known) => before.swap_remove(known),
                None => Member {
                    id,
                    name: name.clone(),
                    state: MemberState::Unknown,
                },
            });
        }
        self.changed = true;
        for gone in &before {
            self.choose_all_of(gone.event());
        }
    }

    /// A member has a new state, or has ended.
    pub(super) fn update(&mut self, id: MemberId, event: Option<Event>, now: Instant) {
        let Some(place) = self.members.iter().position(|member| member.id == id) else {
            return;
        };
        let was_live = self.members[place].is_live();
        let member = &mut self.members[place];
        self.changed = true;
        let Some(event) = event else {
            if member.is_unknown() {
                member.state = MemberState::Ended { since: now };
            }
            return;
        };
        let (instances, held) = match member.event() {
            Some(old) => (old.instances().clone(), old.held_map().clone()),
            None => Default::default(),
        };
        let changes = instances.diff(event.instances());
        let mut changed: BTreeSet<InstanceKey> = changes.map(|change| change.identity()).collect();
        if !held.ptr_eq(event.held_map()) {
            changed.extend(held.keys().chain(event.held_map().keys()).cloned());
        }
        let is_live = event.health().is_live();
        member.state = MemberState::Known(event.clone());
        for identity in changed {
            self.choose(identity);
        }
        if was_live != is_live && self.has_others(place) {
            // The word of another member may count more now, or less.
            self.choose_all_of(Some(&event));
        }
    }

    fn has_others(&self, place: usize) -> bool {
        let others = self.members.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != place);
        others.any(|(_, member)| {
            let event = member.event();
            event.is_some_and(|event| !event.instances().is_empty())
        })
    }

    fn choose_all_of(&mut self, event: Option<&Event>) {
        for instance in event.iter().flat_map(|event| event.instances().iter()) {
            self.choose(instance.identity());
        }
    }

    /// Shows of this identity the instance of the member whose word counts most: that does not doubt it, is
    /// live, and was added first.
    fn choose(&mut self, identity: InstanceKey) {
        let known = self.members.iter().filter_map(|member| {
            let event = member.event()?;
            let instance = event.instances().get(&identity)?;
            let held = event.held_map().get(&identity);
            Some((held, !member.is_live(), instance))
        });
        let chosen = known.min_by_key(|(held, is_stale, _)| (held.is_some(), *is_stale));
        let Some((held, _, instance)) = chosen else {
            self.instances.remove(&identity);
            self.held.remove(&identity);
            return;
        };
        let (instance, held) = (instance.clone(), held.cloned());
        let shown = self.instances.get(&identity);
        if shown.is_none_or(|shown| !is_same(shown, &instance)) {
            self.instances.insert(instance);
        }
        match held {
            Some(held) => self.held.insert(identity, held),
            None => self.held.remove(&identity),
        };
    }

    /// The next state of the union, if there is one.
    pub(super) fn event(&mut self, now: Instant) -> Option<Event> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let next = match &self.published {
            None if !self.is_ready() => return None,
            // Nobody knows that there is nothing.
            None if self.may_be_more() => return None,
            Some(before) if self.may_be_more() => self.doubt(before, now),
            _ => Published {
                instances: self.instances.clone(),
                held: self.held.clone(),
                health: self.health(now),
                unreadable: self.unreadable(),
            },
        };
        let is_same = self
            .published
            .as_ref()
            .is_some_and(|before| before.is(&next));
        let Published {
            instances,
            held,
            health,
            unreadable,
        } = &next;
        // The publisher counts the versions.
        let event = Event::new(0, instances.clone())
            .with_health(health.clone())
            .with_held_map(held.clone())
            .with_unreadable(*unreadable);
        self.published = Some(next);
        (!is_same).then_some(event)
    }

    /// Whether those members are known that have to be before the union is.
    fn is_ready(&self) -> bool {
        let mut members = self.members.iter();
        match &self.ready_when {
            _ if self.members.is_empty() => false,
            ReadyWhen::All => !members.any(Member::is_unknown),
            ReadyWhen::Any => members.any(|member| !member.is_unknown()),
            ReadyWhen::Primary(name) => {
                members.any(|member| *member.name == **name && !member.is_unknown())
            }
        }
    }

    /// Whether the union is empty only as far as is known.
    fn may_be_more(&self) -> bool {
        self.instances.is_empty() && self.members.iter().any(Member::is_unknown)
    }

    /// What was shown before, since a member that is not known yet may have it.
    fn doubt(&self, before: &Published, now: Instant) -> Published {
        let instances = before.instances.iter();
        let held = instances.map(|instance| {
            let identity = instance.identity();
            let held = before.held.get(&identity).cloned();
            (identity, held.unwrap_or_else(|| Held::new(now, unknown())))
        });
        Published {
            instances: before.instances.clone(),
            held: held.collect(),
            health: self.health(now),
            unreadable: self.unreadable(),
        }
    }

    /// Live while any member is. Stale since the last of them became so.
    fn health(&self, now: Instant) -> Health {
        if self.members.iter().any(Member::is_live) {
            return Health::Live;
        }
        let stale = self.members.iter().filter_map(Member::stale);
        let last = stale.max_by_key(|(since, _)| *since);
        let before = self.published.as_ref().map(|before| &before.health);
        match (last, before) {
            (Some((since, why)), _) => Health::stale(since, why),
            (None, Some(stale @ Health::Stale { .. })) => stale.clone(),
            (None, _) => Health::stale(now, unknown()),
        }
    }

    fn unreadable(&self) -> usize {
        let known = self.members.iter().filter_map(Member::event);
        known.map(Event::unreadable).sum()
    }
}

impl Published {
    fn is(&self, other: &Self) -> bool {
        let is_same_health = match (&self.health, &other.health) {
            (Health::Live, Health::Live) => true,
            (Health::Stale { since: old, .. }, Health::Stale { since: new, .. }) => old == new,
            _ => false,
        };
        is_same_health
            && self.unreadable == other.unreadable
            && self.held.keys().eq(other.held.keys())
            && self.instances.diff(&other.instances).next().is_none()
    }
}

fn is_same(one: &Arc<Instance>, other: &Arc<Instance>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

fn unknown() -> Trouble {
    Trouble::List(Error::unavailable("no member knows anything yet"))
}
