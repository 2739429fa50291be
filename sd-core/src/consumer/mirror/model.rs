//! The mirror against a model of a registry: whatever happens to either, in whatever order.

use super::*;
use crate::{
    consumer::testing::{entry as raw_entry, key as raw_key, prefix},
    instances::{Health, Instance, Instances, Status},
    registry::{Change, Entry, Gap, Key},
    support::{cases, denied, down},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LONGEST: Duration = Duration::from_secs(2);
const LEASES: u8 = 2;

type Name = u8;

/// What happens.
#[derive(Debug, Clone)]
enum Op {
    Put(Name, Kind, u8),
    /// The value that stands there, written once more.
    PutAgain(Name),
    Delete(Name),
    /// All keys on this lease go at once.
    Expire(u8),
    Compact,
    /// The registry is replaced by an empty one, and every stream to it breaks.
    Rebuild,
    /// The driver does what the mirror asks for, with this luck.
    Step(Luck),
    /// A watch or a batch that the mirror is not in the state for.
    Stray,
    Publish,
    Pass(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Serving,
    Draining,
    Garbage,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Luck {
    /// All there is to know arrives.
    All,
    /// The same, of each key only the last change.
    Coalesced,
    /// The next change alone.
    One,
    /// No news, but a sign of life.
    Progress,
    /// Nothing is heard: neither a change nor an answer.
    Nothing,
    /// The registry is said to have been silent for half a second.
    Silent,
    Disrupted,
    Interrupted,
    Ended,
    Gap,
    /// An error that cannot pass.
    Refused,
}

fn op() -> impl Strategy<Value = Op> {
    use Luck::*;
    let name = || 0..6_u8;
    let kind = prop_oneof![
        6 => Just(Kind::Serving),
        1 => Just(Kind::Draining),
        1 => Just(Kind::Garbage),
    ];
    let well = prop::sample::select(vec![All, Coalesced, One, Progress]);
    let ill = prop::sample::select(vec![
        Nothing,
        Silent,
        Silent,
        Disrupted,
        Interrupted,
        Ended,
        Gap,
        Refused,
    ]);
    prop_oneof![
        6 => (name(), kind, 0..LEASES).prop_map(|(name, kind, lease)| Op::Put(name, kind, lease)),
        1 => name().prop_map(Op::PutAgain),
        3 => name().prop_map(Op::Delete),
        1 => (0..LEASES).prop_map(Op::Expire),
        1 => Just(Op::Compact),
        1 => Just(Op::Rebuild),
        14 => well.prop_map(Op::Step),
        5 => ill.prop_map(Op::Step),
        1 => Just(Op::Stray),
        8 => Just(Op::Publish),
        4 => (0..20_000_u64).prop_map(Op::Pass),
        2 => (0..1_000_u64).prop_map(Op::Pass),
    ]
}

// === The registry ===

/// A value, and when it was first written; that is the weight of its instance, so that it can be
/// told from all others.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Written {
    kind: Kind,
    stamp: u32,
}

impl Written {
    fn is_readable(self) -> bool {
        self.kind != Kind::Garbage
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct At {
    generation: u32,
    revision: usize,
}

#[derive(Default)]
struct Registry {
    entries: BTreeMap<Name, (Written, u8)>,
    /// What changed at once, revision by revision.
    history: Vec<Vec<(Name, Option<Written>)>>,
    /// What came before can no longer be asked for.
    compacted: usize,
    generation: u32,
    stamp: u32,
}

impl Registry {
    fn put(&mut self, name: Name, kind: Kind, lease: u8) {
        self.stamp += 1;
        let stamp = self.stamp;
        let written = Written { kind, stamp };
        self.entries.insert(name, (written, lease));
        self.history.push(vec![(name, Some(written))]);
    }

    fn put_again(&mut self, name: Name) {
        if let Some((written, _)) = self.entries.get(&name) {
            self.history.push(vec![(name, Some(*written))]);
        }
    }

    fn remove(&mut self, which: impl Fn(Name, u8) -> bool) {
        let mut gone = Vec::new();
        self.entries.retain(|name, (_, lease)| {
            let goes = which(*name, *lease);
            gone.extend(goes.then_some((*name, None)));
            !goes
        });
        if !gone.is_empty() {
            self.history.push(gone);
        }
    }

    fn rebuild(&mut self) {
        *self = Self {
            generation: self.generation + 1,
            stamp: self.stamp,
            ..Self::default()
        };
    }

    fn at(&self) -> At {
        At {
            generation: self.generation,
            revision: self.history.len(),
        }
    }

    fn gap(&self, after: &At) -> Option<Gap> {
        if after.generation != self.generation {
            return Some(Gap::Rebuilt("another generation".into()));
        }
        (after.revision < self.compacted).then_some(Gap::Compacted)
    }
}

// === What is to be shown ===

/// What the mirror has to show, given what it was told and when.
struct Promise {
    grace: Duration,
    is_ready: bool,
    shown: BTreeMap<Name, Written>,
    /// Told to be gone by what is being applied.
    leaving: BTreeSet<Name>,
    held: BTreeMap<Name, Hold>,
    garbage: BTreeSet<Name>,
    skipped: u64,
    is_live: bool,
    trust: Trust,
    /// What was shown when the trouble began.
    before: BTreeSet<Name>,
    /// For how long the registry has answered in all, until it last ceased to, and since when it does.
    answered: Duration,
    answers_since: Option<Instant>,
    /// How many there were that the registry has, each time with how many announced removals there
    /// had been by then.
    levels: Vec<(Instant, usize)>,
    /// Without those that returned within the grace period.
    announced: usize,
    /// When each went last that had announced it and has not returned.
    gone: BTreeMap<Name, Instant>,
}

/// By the time for which the registry has answered in all.
#[derive(Debug, Clone, Copy)]
struct Hold {
    earliest: Duration,
    latest: Duration,
    /// The entry is there.
    is_unreadable: bool,
}

#[derive(Debug, Clone, Copy)]
enum Trust {
    Full,
    /// Full, or from then on, once a harmless silence ends.
    Silence(Instant, Option<Duration>),
    Lost,
    From(Duration),
}

impl Promise {
    fn answered(&self, now: Instant) -> Duration {
        self.answered
            + self
                .answers_since
                .map_or(Duration::ZERO, |since| now - since)
    }

    fn tell(&mut self, name: Name, written: Option<Written>, now: Instant) {
        self.garbage.remove(&name);
        match written {
            Some(written) if written.is_readable() => {
                let went = self.gone.remove(&name);
                let is_back = went.is_some_and(|went| went + self.grace > now);
                self.announced -= usize::from(is_back);
                self.shown.insert(name, written);
                self.held.remove(&name);
                self.leaving.remove(&name);
                return;
            }
            Some(_) => {
                self.garbage.insert(name);
                self.skipped += 1;
            }
            // It is gone for the registry too, whether it could be read or not.
            None => {
                let held = self.held.get(&name);
                if held.is_some_and(|held| held.is_unreadable) {
                    self.held.remove(&name);
                }
            }
        }
        if (self.shown.get(&name)).is_some_and(|it| it.kind == Kind::Draining) {
            self.shown.remove(&name);
            self.announced += 1;
            self.gone.insert(name, now);
        } else if self.shown.contains_key(&name) && !self.held.contains_key(&name) {
            if written.is_none() || self.grace.is_zero() {
                self.leaving.insert(name);
                return;
            }
            self.leaving.remove(&name);
            let reported = self.answered(now);
            let hold = Hold {
                earliest: reported + self.grace,
                latest: reported + 2 * self.grace,
                is_unreadable: true,
            };
            self.held.insert(name, hold);
        }
    }

    /// All that belongs together was told.
    fn told(&mut self, now: Instant) {
        let left = self.shown.len() - self.held.len() - self.leaving.len();
        let until = self.levels[1..].iter().map(|(from, _)| *from);
        let within = until.map(|until| until + self.grace > now).chain([true]);
        let within = self.levels.iter().zip(within).filter(|(_, within)| *within);
        let most = within.map(|((_, level), _)| *level).max().unwrap_or(0);
        let most = most.saturating_sub(self.announced);
        let is_many = most >= 3 && most.saturating_sub(left) * 2 > most;
        self.levels.push((now, left + self.announced));
        let leaving = std::mem::take(&mut self.leaving);
        let reported = self.answered(now);
        for name in leaving {
            let is_doubted = self.before.contains(&name) && !matches!(self.trust, Trust::Full);
            let is_one_of_many = is_many && self.held.len() < most;
            if self.grace.is_zero() || !is_doubted && !is_one_of_many {
                self.shown.remove(&name);
                continue;
            }
            let hold = Hold {
                earliest: reported + if is_many { self.grace } else { Duration::ZERO },
                latest: reported + 2 * self.grace,
                is_unreadable: false,
            };
            self.held.insert(name, hold);
        }
    }

    fn tell_all(&mut self, entries: &BTreeMap<Name, (Written, u8)>, now: Instant) {
        let known = self.shown.keys().chain(&self.garbage).copied();
        let gone: BTreeSet<_> = known.filter(|name| !entries.contains_key(name)).collect();
        for name in gone {
            self.tell(name, None, now);
        }
        for (name, (written, _)) in entries {
            self.tell(*name, Some(*written), now);
        }
        self.told(now);
        if !std::mem::replace(&mut self.is_ready, true) {
            self.trouble(Some(now), now);
        }
    }

    fn trouble(&mut self, silent_since: Option<Instant>, now: Instant) {
        if !self.is_ready {
            return;
        }
        self.is_live = false;
        self.answered = self.answered(now);
        self.answers_since = None;
        if let Trust::Full | Trust::From(_) = self.trust {
            self.before = self.shown.keys().copied().collect();
        }
        self.trust = match (self.trust, silent_since) {
            (Trust::Full, Some(since)) => Trust::Silence(since, None),
            (Trust::From(from), Some(since)) => Trust::Silence(since, Some(from)),
            (Trust::Silence(since, from), Some(_)) => Trust::Silence(since, from),
            (_, None) | (Trust::Lost, _) => Trust::Lost,
        };
    }

    fn health(&mut self, now: Instant) {
        self.is_live = true;
        self.answers_since.get_or_insert(now);
        let from = Trust::From(self.answered(now) + self.grace);
        self.trust = match self.trust {
            Trust::Silence(since, before) if now - since < Duration::from_secs(4) / 3 => {
                before.map_or(Trust::Full, Trust::From)
            }
            Trust::Silence(..) | Trust::Lost => from,
            trust => trust,
        };
    }

    fn time(&mut self, now: Instant) {
        let answered = self.answered(now);
        if let Trust::From(from) = self.trust
            && from <= answered
        {
            self.trust = Trust::Full;
        }
        if self.answers_since.is_none() {
            return;
        }
        let trust = self.trust;
        self.held.retain(|name, hold| {
            let is_settled = matches!(trust, Trust::Full) && hold.earliest <= answered;
            let is_due = is_settled || hold.latest <= answered;
            if is_due {
                self.shown.remove(name);
            }
            !is_due
        });
    }
}

// === Both, and what lies between ===

fn rules(grace: Duration) -> RemovalRules {
    RemovalRules {
        grace,
        ..RemovalRules::default()
    }
}

struct World {
    /// Its watch is the generation of the registry that the watch is of.
    mirror: Mirror<u32>,
    registry: Registry,
    promise: Promise,
    now: Instant,
    /// How far the mirror has been told.
    told: At,
    /// Whether the mirror may list.
    must_list: bool,
    /// Whether the last attempt failed, and hopelessly.
    failed: Option<bool>,
    last: Option<Event>,
    /// Things that may have changed the state since the last event.
    happened: usize,
    /// The newest that was ever shown of each.
    newest: BTreeMap<Name, u32>,
}

fn key(name: Name) -> Key {
    raw_key(&name.to_string())
}

fn name(key: &str) -> Name {
    key["/svc/".len()..].parse().unwrap()
}

fn entry(name: Name, written: Written) -> Entry {
    let stamp = written.stamp;
    let value = match written.kind {
        Kind::Serving => format!(r#"{{"address":"h:1","weight":{stamp}}}"#),
        Kind::Draining => format!(r#"{{"address":"h:1","weight":{stamp},"status":"draining"}}"#),
        Kind::Garbage => "?".into(),
    };
    raw_entry(&name.to_string(), value)
}

fn read(instance: &Instance) -> (Name, Written) {
    let kind = match instance.status() {
        Status::Serving => Kind::Serving,
        Status::Draining => Kind::Draining,
        Status::Unknown => unreachable!("nobody says another word"),
    };
    let stamp = instance.weight();
    (name(instance.key().as_str()), Written { kind, stamp })
}

fn shown(instances: &Instances) -> BTreeMap<Name, Written> {
    instances.iter().map(|instance| read(instance)).collect()
}

impl World {
    fn new(grace: Duration) -> Self {
        let registry = Registry::default();
        let now = Instant::now();
        Self {
            mirror: Mirror::new(
                prefix(),
                EntryDecoder::default(),
                rules(grace),
                PrefixLimits::default(),
                LONGEST,
            ),
            told: registry.at(),
            registry,
            promise: Promise {
                grace,
                is_ready: false,
                shown: BTreeMap::new(),
                leaving: BTreeSet::new(),
                held: BTreeMap::new(),
                garbage: BTreeSet::new(),
                skipped: 0,
                is_live: true,
                trust: Trust::Full,
                before: BTreeSet::new(),
                answered: Duration::ZERO,
                answers_since: None,
                levels: vec![(now, 0)],
                announced: 0,
                gone: BTreeMap::new(),
            },
            now,
            must_list: true,
            failed: None,
            last: None,
            happened: 0,
            newest: BTreeMap::new(),
        }
    }

    fn on(&mut self, op: &Op) {
        match *op {
            Op::Put(name, kind, lease) => self.registry.put(name, kind, lease),
            Op::PutAgain(name) => self.registry.put_again(name),
            Op::Delete(name) => self.registry.remove(|other, _| other == name),
            Op::Expire(lease) => self.registry.remove(|_, on| on == lease),
            Op::Compact => self.registry.compacted = self.registry.history.len(),
            Op::Rebuild => self.registry.rebuild(),
            Op::Step(luck) => self.step(luck),
            Op::Stray => self.stray(),
            Op::Publish => self.publish(),
            Op::Pass(millis) => self.now += Duration::from_millis(millis),
        }
        self.check();
    }

    // === The driver ===

    fn step(&mut self, luck: Luck) {
        let (pause, next) = self.mirror.next();
        let step: Box<dyn Fn(&mut Self)> = match next {
            Next::List => Box::new(|world| world.list(luck)),
            Next::Watch { after } => Box::new(move |world| world.open(luck, &after)),
            Next::Read(generation) => {
                let generation = *generation;
                Box::new(move |world| world.read(luck, generation))
            }
        };
        self.check_pause(pause);
        self.now += pause;
        self.happened += 1;
        step(self);
    }

    fn check_pause(&mut self, pause: Duration) {
        let (least, most) = match self.failed.take() {
            None => (Duration::ZERO, Duration::ZERO),
            Some(false) => (Duration::from_millis(50), LONGEST),
            Some(true) => (Duration::from_secs(1), Duration::from_secs(30)),
        };
        assert!(
            (least..=most).contains(&pause),
            "{pause:?}, not {least:?} to {most:?}"
        );
        assert_eq!(self.mirror.next().0, Duration::ZERO, "said once");
    }

    fn list(&mut self, luck: Luck) {
        assert!(self.must_list, "a list without a gap");
        if luck == Luck::Nothing {
            return;
        }
        if let Some(error) = error(luck) {
            self.failed = Some(!error.is_transient());
            self.promise.trouble(None, self.now);
            return self.mirror.list_failed(error, self.now);
        }
        let entries = self.registry.entries.iter();
        let snapshot = Snapshot {
            entries: entries
                .rev()
                .map(|(name, (it, _))| entry(*name, *it))
                .collect(),
            revision: Revision::new(self.registry.at()),
            skipped: 0,
        };
        self.must_list = false;
        self.told = self.registry.at();
        self.promise.tell_all(&self.registry.entries, self.now);
        self.mirror.listed(snapshot, self.now);
    }

    fn open(&mut self, luck: Luck, after: &Revision) {
        assert!(!self.must_list, "a watch across a gap");
        assert_eq!(*after, Revision::new(self.told.clone()));
        if luck == Luck::Nothing {
            return;
        }
        let gap = self.registry.gap(&self.told);
        if error(luck).is_some() || gap.is_some() {
            return self.fail_watch(luck, gap);
        }
        self.mirror.opened(self.registry.generation);
    }

    fn read(&mut self, luck: Luck, generation: u32) {
        if luck == Luck::Nothing {
            // Only time passes.
        } else if generation != self.registry.generation {
            self.fail_watch(Luck::Interrupted, None);
        } else if error(luck).is_some() {
            self.fail_watch(luck, None);
        } else {
            self.batch(luck);
        }
        self.promise.time(self.now);
        self.mirror.tick(self.now);
        let is_due = self.mirror.deadline().is_some_and(|at| at <= self.now);
        assert!(!is_due, "a deadline that passes without end");
    }

    fn batch(&mut self, luck: Luck) {
        let news = &self.registry.history[self.told.revision..];
        let count = match luck {
            Luck::One => news.len().min(1),
            Luck::Progress => 0,
            _ => news.len(),
        };
        let mut changes: Vec<_> = news[..count].iter().flatten().copied().collect();
        if luck == Luck::Coalesced {
            let all = changes.clone();
            let mut index = 0;
            changes.retain(|(name, _)| {
                index += 1;
                !all[index..].iter().any(|(later, _)| later == name)
            });
        }
        self.told.revision += count;
        // In between, it may have looked different.
        self.happened += changes.len();
        let told = changes.iter().map(|(name, written)| match written {
            Some(written) => Change::Put(entry(*name, *written)),
            None => Change::Delete(key(*name)),
        });
        let batch = Batch::new(told.collect(), Revision::new(self.told.clone()));
        self.promise.health(self.now);
        for (name, written) in changes {
            self.promise.tell(name, written, self.now);
        }
        self.promise.told(self.now);
        self.mirror.batch(batch, self.now);
    }

    fn fail_watch(&mut self, luck: Luck, gap: Option<Gap>) {
        let was_open = self.mirror.watch().is_some();
        let is_silence = luck == Luck::Silent && was_open && gap.is_none();
        let silence = Duration::from_millis(500);
        let silent_since = is_silence.then(|| self.now - silence);
        self.promise.trouble(silent_since, self.now);
        if luck == Luck::Ended && gap.is_none() {
            self.failed = Some(false);
            return self.mirror.watch_ended(self.now);
        }
        let error = match (luck, gap.or((luck == Luck::Gap).then_some(Gap::Compacted))) {
            (_, Some(gap)) => WatchError::Gap(gap),
            (Luck::Disrupted, _) => WatchError::Disrupted(down()),
            (Luck::Silent, _) => WatchError::Disrupted(Error::timeout("watch", silence)),
            (Luck::Refused, _) => WatchError::Interrupted(denied()),
            _ => WatchError::Interrupted(down()),
        };
        self.must_list |= matches!(error, WatchError::Gap(_));
        if !(was_open && matches!(error, WatchError::Disrupted(_))) {
            self.failed = Some(luck == Luck::Refused && !self.must_list);
        }
        let is_kept = was_open && matches!(error, WatchError::Disrupted(_));
        self.mirror.watch_failed(error, self.now);
        assert_eq!(self.mirror.watch().is_some(), is_kept);
    }

    fn stray(&mut self) {
        if self.mirror.watch().is_none() {
            let changes = vec![Change::Put(entry(
                0,
                Written {
                    kind: Kind::Serving,
                    stamp: 1,
                },
            ))];
            self.mirror
                .batch(Batch::new(changes, Revision::new("stray")), self.now);
        }
        if !matches!(self.mirror.phase, Phase::Listed { .. }) {
            self.mirror.opened(u32::MAX);
        }
    }

    fn publish(&mut self) {
        let happened = std::mem::take(&mut self.happened);
        let Some(event) = self.mirror.take_event() else {
            return;
        };
        assert!(self.promise.is_ready, "an event before the first list");
        let version = self.last.as_ref().map_or(0, Event::version);
        assert_eq!(event.version(), version + 1);
        if let Some(last) = &self.last {
            let differs = state(last) != state(&event);
            assert!(differs || happened > 1, "an event for nothing");
        }
        let before = self.last.as_ref().map(|last| shown(last.instances()));
        for (name, Written { stamp, .. }) in shown(event.instances()) {
            let newest = self.newest.insert(name, stamp).unwrap_or(0);
            let is_old = before.as_ref().is_some_and(|it| it.contains_key(&name));
            assert!(
                stamp > newest || is_old && stamp == newest,
                "{name} came back from the dead"
            );
        }
        self.last = Some(event);
    }

    // === What is promised ===

    fn check(&self) {
        let Self {
            mirror, promise, ..
        } = self;
        assert_eq!(
            shown(mirror.shown.instances()),
            promise.shown,
            "what is shown"
        );
        let held: BTreeSet<_> = {
            let held = mirror.shown.removals.held().keys();
            held.map(|held| name(held.key())).collect()
        };
        let expected: BTreeSet<_> = promise.held.keys().copied().collect();
        assert_eq!(held, expected, "what is held");
        if promise.is_ready {
            assert_eq!(mirror.health.published().is_live(), promise.is_live);
        }
        assert_eq!(mirror.is_ready(), promise.is_ready);
        assert_eq!(mirror.skipped(), promise.skipped);
        assert_eq!(mirror.shown.unreadable(), promise.garbage.len());
        if !mirror.changed
            && let Some(last) = &self.last
        {
            let current = (
                shown(mirror.shown.instances()),
                held,
                condition(mirror.health.published()),
                mirror.shown.unreadable(),
            );
            assert_eq!(state(last), current, "a change that nobody hears of");
        }
    }

    /// The registry is well from now on.
    fn heal(&mut self) {
        for _ in 0..6 {
            self.on(&Op::Step(Luck::All));
        }
        assert!(self.mirror.watch().is_some());
        assert!(self.mirror.trouble().is_none());
        self.now += self.promise.grace;
        self.on(&Op::Step(Luck::Progress));
        self.on(&Op::Publish);
        let last = self.last.as_ref().expect("an event");
        let entries = self.registry.entries.iter();
        let there = entries.filter(|(_, (written, _))| written.is_readable());
        let there: BTreeMap<_, _> = there
            .map(|(name, (written, _))| (*name, *written))
            .collect();
        let unreadable = self.registry.entries.len() - there.len();
        assert_eq!(state(last), (there, BTreeSet::new(), "live", unreadable));
    }
}

type State = (BTreeMap<Name, Written>, BTreeSet<Name>, &'static str, usize);

fn condition(health: &Health) -> &'static str {
    match health {
        Health::Live => "live",
        Health::Stale {
            why: Trouble::Unanswered,
            ..
        } => "unanswered",
        Health::Stale { .. } => "in trouble",
    }
}

fn state(event: &Event) -> State {
    let held = event.held().map(|(held, _)| name(held.key())).collect();
    let condition = condition(event.health());
    (
        shown(event.instances()),
        held,
        condition,
        event.unreadable(),
    )
}

fn error(luck: Luck) -> Option<Error> {
    match luck {
        Luck::All | Luck::Coalesced | Luck::One | Luck::Progress | Luck::Nothing => None,
        Luck::Silent => Some(Error::timeout("watch", Duration::from_millis(500))),
        Luck::Refused => Some(denied()),
        Luck::Disrupted | Luck::Interrupted | Luck::Ended | Luck::Gap => Some(down()),
    }
}

proptest! {
    #![proptest_config(cases(4))]

    /// Including that nothing is lost by an error, nothing waits that was added, and nothing is
    /// shown again that was seen to go.
    #[test]
    fn the_mirror_shows_what_it_was_told_and_ends_equal_to_the_registry(
        grace in prop::sample::select(vec![0, 15]),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(Duration::from_secs(grace));
        for op in &ops {
            world.on(op);
        }
        world.heal();
    }
}
