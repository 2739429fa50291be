//! The mirror, step by step.

mod limits;
mod removals;
mod unreadable;

use super::*;
use crate::{
    consumer::testing::{delete, entry, held, key, names, prefix, put},
    instances::{Codec, CodecError, DefaultCodec, Health, Instance, InstanceChange, Status},
    registry::{Change, Entry, ErrorChain, Gap, Key, LeaseId},
    support::{Log, denied},
};
use std::sync::Arc;

const GRACE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(2);

/// A mirror and the time it is told.
struct Fixture {
    mirror: Mirror<()>,
    now: Instant,
    revision: u64,
}

fn draining(name: &str) -> Change {
    Change::Put(entry(name, r#"{"address":"h:1","status":"draining"}"#))
}

fn disrupted() -> WatchError {
    WatchError::Disrupted(Error::unavailable("silence"))
}

fn interrupted() -> WatchError {
    WatchError::Interrupted(Error::unavailable("broken pipe"))
}

fn gap() -> WatchError {
    WatchError::Gap(Gap::Compacted)
}

impl Fixture {
    fn with_grace(grace: Duration) -> Self {
        Self::with(grace, PAUSE)
    }

    fn with(grace: Duration, longest_pause: Duration) -> Self {
        let rules = RemovalRules {
            grace,
            ..RemovalRules::default()
        };
        Self::by(rules, longest_pause)
    }

    fn by(rules: RemovalRules, longest_pause: Duration) -> Self {
        Self {
            mirror: Mirror::new(
                prefix(),
                EntryDecoder::default(),
                rules,
                PrefixLimits::default(),
                longest_pause,
            ),
            now: Instant::now(),
            revision: 0,
        }
    }

    /// A mirror that has listed these and watches.
    fn watching(names: &[&str]) -> Self {
        Self::with_grace(GRACE).listed_and_open(names)
    }

    fn listed_and_open(mut self, names: &[&str]) -> Self {
        self.list(names);
        self.open();
        self
    }

    fn list(&mut self, names: &[&str]) -> Option<Event> {
        self.list_entries(names.iter().map(|name| entry(name, "h:1")).collect())
    }

    fn list_entries(&mut self, entries: Vec<Entry>) -> Option<Event> {
        self.revision += 1;
        let snapshot = Snapshot::new(entries, Revision::new(self.revision));
        self.mirror.listed(snapshot, self.now);
        self.mirror.take_event()
    }

    /// A watch is opened, and the registry answers about it.
    fn open(&mut self) -> Option<Event> {
        self.mirror.opened(());
        self.answer()
    }

    /// The registry answers without changes.
    fn answer(&mut self) -> Option<Event> {
        let progress = Batch::new(vec![], Revision::new(self.revision));
        self.mirror.batch(progress, self.now);
        self.mirror.take_event()
    }

    fn batch(&mut self, changes: impl IntoIterator<Item = Change>) -> Option<Event> {
        self.revision += 1;
        let batch = Batch::new(changes.into_iter().collect(), Revision::new(self.revision));
        self.mirror.batch(batch, self.now);
        self.mirror.take_event()
    }

    fn fail(&mut self, error: WatchError) -> Option<Event> {
        self.mirror.watch_failed(error, self.now);
        self.mirror.take_event()
    }

    /// So much time passes, and the mirror is told at the end.
    fn wait(&mut self, time: Duration) -> Option<Event> {
        self.now += time;
        self.mirror.tick(self.now);
        self.mirror.take_event()
    }

    fn next(&mut self) -> Next<'_, ()> {
        self.mirror.next().1
    }

    fn resume(&self) -> Next<'static, ()> {
        Next::Watch {
            after: Revision::new(self.revision),
        }
    }
}

#[test]
fn a_registration_that_was_renewed_is_an_update() {
    let on = |lease: i64| entry("a", "h:1").with_lease(LeaseId::from(lease));
    let mut fixture = Fixture::with_grace(GRACE);
    let before = fixture.list_entries(vec![on(1)]).unwrap();
    fixture.open();
    assert!(fixture.batch([Change::Put(on(1))]).is_none(), "no change");
    let after = fixture.batch([Change::Put(on(2))]).unwrap();
    let mut changes = before.instances().diff(after.instances());
    let Some(InstanceChange::Updated { old, new }) = changes.next() else {
        panic!("{after}");
    };
    let leases = [old, new].map(|instance| instance.lease().cloned());
    assert_eq!(leases, [1, 2].map(|lease| Some(LeaseId::from(lease))));
}

fn why(health: &Health) -> String {
    match health {
        Health::Live => "live".into(),
        Health::Stale { why, .. } => ErrorChain(why).to_string(),
    }
}

// === Following ===

#[test]
fn it_lists_once_and_watches_from_there() {
    let mut fixture = Fixture::with_grace(GRACE);
    assert_eq!(fixture.mirror.next(), (Duration::ZERO, Next::List));
    let event = fixture.list(&["a", "b"]).unwrap();
    assert_eq!((event.version(), names(&event)), (1, vec!["a", "b"]));
    assert!(matches!(
        event.health(),
        Health::Stale {
            why: Trouble::Unanswered,
            ..
        }
    ));
    assert_eq!((Duration::ZERO, fixture.resume()), fixture.mirror.next());
    let event = fixture.open().unwrap();
    assert_eq!((event.version(), names(&event)), (2, vec!["a", "b"]));
    assert!(event.health().is_live());
    assert_eq!(fixture.mirror.next(), (Duration::ZERO, Next::Read(&mut ())));
    let event = fixture.batch([put("c"), delete("a")]).unwrap();
    assert_eq!((event.version(), names(&event)), (3, vec!["b", "c"]));
    assert_eq!(fixture.next(), Next::Read(&mut ()));
}

#[test]
fn before_the_first_list_there_is_no_event() {
    let mut fixture = Fixture::with_grace(GRACE);
    for _ in 0..3 {
        fixture
            .mirror
            .list_failed(Error::unavailable("down"), fixture.now);
        assert!(fixture.mirror.take_event().is_none());
        assert!(!fixture.mirror.is_ready());
        let (pause, next) = fixture.mirror.next();
        assert!(pause > Duration::ZERO);
        assert_eq!(next, Next::List);
    }
    assert!(matches!(fixture.mirror.trouble(), Some(Trouble::List(_))));
    let event = fixture.list(&[]).unwrap();
    assert!(event.instances().is_empty());
    assert!(fixture.mirror.trouble().is_none());
    assert!(fixture.open().unwrap().health().is_live());
}

#[test]
fn progress_is_no_event_but_moves_the_resume_point() {
    let mut fixture = Fixture::watching(&["a"]);
    assert!(fixture.batch([]).is_none());
    assert!(fixture.batch([put("a")]).is_none(), "the same value again");
    fixture.fail(interrupted());
    assert_eq!(fixture.resume(), fixture.next());
}

#[test]
fn an_interruption_resumes_and_a_gap_lists_again() {
    let mut fixture = Fixture::watching(&["a"]);
    fixture.batch([put("b")]);
    fixture.fail(interrupted());
    assert_eq!(fixture.resume(), fixture.next());
    fixture.fail(interrupted());
    assert_eq!(fixture.resume(), fixture.next(), "an attempt that failed");
    fixture.fail(gap());
    assert_eq!(fixture.next(), Next::List);
    fixture.list(&["a"]);
    assert_eq!(fixture.resume(), fixture.next());
    fixture.open();
    fixture.fail(gap());
    assert_eq!(fixture.next(), Next::List);
    fixture
        .mirror
        .list_failed(Error::unavailable("down"), fixture.now);
    assert_eq!(fixture.next(), Next::List);
}

#[test]
fn a_watch_that_ends_silently_is_resumed() {
    let mut fixture = Fixture::watching(&["a"]);
    fixture.mirror.watch_ended(fixture.now);
    assert!(!fixture.mirror.take_event().unwrap().health().is_live());
    assert_eq!(fixture.resume(), fixture.next());
}

#[test]
fn a_disrupted_watch_is_kept() {
    let mut fixture = Fixture::watching(&["a"]);
    let event = fixture.fail(disrupted()).unwrap();
    assert_eq!(names(&event), ["a"]);
    assert_eq!(fixture.mirror.next(), (Duration::ZERO, Next::Read(&mut ())));
    assert!(fixture.batch([]).unwrap().health().is_live());
}

#[test]
fn a_disruption_instead_of_a_watch_is_an_attempt_that_failed() {
    let mut fixture = Fixture::with_grace(GRACE);
    fixture.list(&["a"]);
    assert!(!fixture.fail(disrupted()).unwrap().health().is_live());
    let (pause, next) = fixture.mirror.next();
    assert!(pause > Duration::ZERO);
    let next = matches!(next, Next::Watch { after } if after == Revision::new(fixture.revision));
    assert!(next, "from where it was");
}

#[test]
fn a_list_after_a_gap_touches_only_what_differs() {
    let mut fixture = Fixture::with_grace(Duration::ZERO).listed_and_open(&["a", "b", "c"]);
    let before = fixture.fail(gap()).unwrap();
    let after = fixture
        .list_entries(vec![
            entry("d", "h:1"),
            entry("c", "h:2"),
            entry("a", "h:1"),
        ])
        .unwrap();
    assert_eq!(names(&after), ["a", "c", "d"]);
    let changes: Vec<_> = before
        .instances()
        .diff(after.instances())
        .map(|change| match change {
            InstanceChange::Added(new) => format!("+{}", new.key()),
            InstanceChange::Updated { new, .. } => format!("~{}", new.key()),
            InstanceChange::Removed(old) => format!("-{}", old.key()),
        })
        .collect();
    assert_eq!(changes, ["-/svc/b", "~/svc/c", "+/svc/d"]);
    let (old, new) = (
        before.instances().get(&key("a")),
        after.instances().get(&key("a")),
    );
    assert!(Arc::ptr_eq(old.unwrap(), new.unwrap()));
}

#[test]
fn a_list_that_finds_nothing_new_is_no_event() {
    let mut fixture = Fixture::watching(&["a", "b"]);
    fixture.fail(gap());
    assert!(fixture.list(&["b", "a"]).is_none());
    assert!(fixture.open().unwrap().health().is_live());
}

#[test]
fn one_change_among_ten_thousand_copies_next_to_nothing() {
    let all: Vec<String> = (0..10_000).map(|n| format!("{n:05}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut fixture = Fixture::with_grace(GRACE);
    let before = fixture.list(&all).unwrap();
    fixture.open();
    let after = fixture.batch([Change::Put(entry("05000", "h:2"))]).unwrap();
    assert_eq!(before.instances().diff(after.instances()).count(), 1);
    let copied = before
        .instances()
        .iter()
        .filter(|instance| Arc::strong_count(instance) > 1)
        .count();
    assert!(copied < 100, "{copied} of 10,000 stand in two places");
}

// === Pauses ===

#[test]
fn failures_are_retried_quickly_at_first_and_ever_more_slowly() {
    let mut fixture = Fixture::watching(&["a"]);
    let mut pauses = Vec::new();
    for _ in 0..20 {
        fixture.fail(interrupted());
        pauses.push(fixture.mirror.next().0);
    }
    assert!(pauses[0] >= Duration::from_millis(50) && pauses[0] <= Duration::from_millis(100));
    assert!(
        pauses[10..]
            .iter()
            .all(|pause| (PAUSE / 2..=PAUSE).contains(pause))
    );
    assert_eq!(fixture.mirror.next().0, Duration::ZERO, "said once");
}

#[test]
fn an_attempt_that_only_seems_to_succeed_does_not_start_the_pauses_anew() {
    let mut fixture = Fixture::watching(&["a"]);
    for error in [interrupted(), gap()] {
        let mut pause = Duration::ZERO;
        for _ in 0..20 {
            fixture.fail(error.clone());
            pause = fixture.mirror.next().0;
            if matches!(error, WatchError::Gap(_)) {
                fixture.list(&["a"]);
            }
            fixture.open();
            fixture.batch([]);
        }
        assert!(pause >= PAUSE / 2, "{error}");
    }
    fixture.wait(PAUSE);
    fixture.fail(interrupted());
    assert!(
        fixture.mirror.next().0 <= Duration::from_millis(100),
        "a watch that lasted does"
    );
}

#[test]
fn what_cannot_pass_is_tried_slowly() {
    let mut fixture = Fixture::with_grace(GRACE);
    fixture.mirror.list_failed(denied(), fixture.now);
    assert!(fixture.mirror.next().0 >= Duration::from_secs(1));
    let mut fixture = fixture.listed_and_open(&["a"]);
    for _ in 0..10 {
        fixture.fail(WatchError::Interrupted(denied()));
    }
    assert!(fixture.mirror.next().0 >= Duration::from_secs(15));
}

#[test]
fn what_cannot_pass_is_never_tried_fast() {
    let mut fixture = Fixture::watching(&["a"]);
    let mut pauses = Vec::new();
    for _ in 0..20 {
        fixture.fail(WatchError::Interrupted(denied()));
        pauses.push(fixture.mirror.next().0);
    }
    assert!(
        pauses
            .iter()
            .all(|pause| *pause >= FIRST_HOPELESS_PAUSE / 2)
    );
    let later = &pauses[10..];
    assert!(
        later
            .iter()
            .all(|pause| *pause >= LONGEST_HOPELESS_PAUSE / 2)
    );
}

#[test]
fn no_option_makes_a_hot_loop() {
    for (longest, least) in [
        (Duration::ZERO, MIN_LONGEST_PAUSE / 2),
        (Duration::MAX, FIRST_PAUSE / 2),
    ] {
        let mut fixture = Fixture::with(GRACE, longest).listed_and_open(&["a"]);
        for _ in 0..50 {
            fixture.fail(interrupted());
            let pause = fixture.mirror.next().0;
            assert!(pause >= least, "{pause:?} of at most {longest:?}");
        }
    }
}

// === Health ===

#[test]
fn staleness_names_the_first_trouble_and_trouble_the_last() {
    let mut fixture = Fixture::watching(&["a"]);
    let since = fixture.now;
    let event = fixture.fail(disrupted()).unwrap();
    assert!(why(event.health()).contains("silence"));
    fixture.now += Duration::from_secs(3);
    assert!(
        fixture.fail(interrupted()).is_none(),
        "still the same episode"
    );
    assert!(fixture.fail(gap()).is_none());
    fixture
        .mirror
        .list_failed(Error::unavailable("refused"), fixture.now);
    assert!(fixture.mirror.take_event().is_none());
    assert!(matches!(fixture.mirror.trouble(), Some(Trouble::List(_))));
    let event = fixture.list(&["a", "b"]).unwrap();
    let Health::Stale { since: stale, .. } = event.health() else {
        panic!("a list without a watch is not enough");
    };
    assert_eq!(*stale, since);
    assert!(fixture.open().unwrap().health().is_live());
    assert!(fixture.mirror.trouble().is_none());
}

#[test]
fn trouble_between_the_first_list_and_its_watch_is_trouble() {
    let mut fixture = Fixture::with_grace(GRACE);
    fixture.list(&["a"]);
    assert!(!fixture.fail(interrupted()).unwrap().health().is_live());
    fixture.open();
    assert_eq!(held(&fixture.batch([delete("a")]).unwrap()), ["a"]);
}
