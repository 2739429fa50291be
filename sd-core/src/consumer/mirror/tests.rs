use super::*;
use crate::{
    consumer::testing::{delete, entry, held, key, names, prefix, put},
    instances::{CodecError, DefaultCodec, Health, Instance, InstanceChange, Status},
    registry::{Change, Entry, Gap, Key, chain},
    support::{Lines, denied},
};

const GRACE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(2);

/// A mirror and the time it is told.
struct Bench {
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

impl Bench {
    fn with_grace(grace: Duration) -> Self {
        Self::with(grace, PAUSE)
    }

    fn with(grace: Duration, longest_pause: Duration) -> Self {
        Self {
            mirror: Mirror::new(prefix(), Arc::new(DefaultCodec), grace, longest_pause),
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

    fn open(&mut self) -> Option<Event> {
        self.mirror.opened((), self.now);
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

fn why(health: &Health) -> String {
    match health {
        Health::Live => "live".into(),
        Health::Stale { why, .. } => chain(why),
    }
}

// === Following ===

#[test]
fn it_lists_once_and_watches_from_there() {
    let mut bench = Bench::with_grace(GRACE);
    assert_eq!(bench.mirror.next(), (Duration::ZERO, Next::List));
    let event = bench.list(&["a", "b"]).unwrap();
    assert_eq!((event.version(), names(&event)), (1, vec!["a", "b"]));
    assert!(event.health().is_live());
    assert_eq!((Duration::ZERO, bench.resume()), bench.mirror.next());
    assert!(bench.open().is_none());
    assert_eq!(bench.mirror.next(), (Duration::ZERO, Next::Read(&mut ())));
    let event = bench.batch([put("c"), delete("a")]).unwrap();
    assert_eq!((event.version(), names(&event)), (2, vec!["b", "c"]));
    assert_eq!(bench.next(), Next::Read(&mut ()));
}

#[test]
fn before_the_first_list_there_is_no_event() {
    let mut bench = Bench::with_grace(GRACE);
    for _ in 0..3 {
        bench
            .mirror
            .list_failed(Error::unavailable("down"), bench.now);
        assert!(bench.mirror.take_event().is_none());
        assert!(!bench.mirror.is_ready());
        let (pause, next) = bench.mirror.next();
        assert!(pause > Duration::ZERO);
        assert_eq!(next, Next::List);
    }
    assert!(matches!(bench.mirror.trouble(), Some(Trouble::List(_))));
    let event = bench.list(&[]).unwrap();
    assert!(event.instances().is_empty() && event.health().is_live());
    assert!(bench.mirror.trouble().is_none());
}

#[test]
fn progress_is_no_event_but_moves_the_resume_point() {
    let mut bench = Bench::watching(&["a"]);
    assert!(bench.batch([]).is_none());
    assert!(bench.batch([put("a")]).is_none(), "the same value again");
    bench.fail(interrupted());
    assert_eq!(bench.resume(), bench.next());
}

#[test]
fn an_interruption_resumes_and_a_gap_lists_again() {
    let mut bench = Bench::watching(&["a"]);
    bench.batch([put("b")]);
    bench.fail(interrupted());
    assert_eq!(bench.resume(), bench.next());
    bench.fail(interrupted());
    assert_eq!(bench.resume(), bench.next(), "an attempt that failed");
    bench.fail(gap());
    assert_eq!(bench.next(), Next::List);
    bench.list(&["a"]);
    assert_eq!(bench.resume(), bench.next());
    bench.open();
    bench.fail(gap());
    assert_eq!(bench.next(), Next::List);
    bench
        .mirror
        .list_failed(Error::unavailable("down"), bench.now);
    assert_eq!(bench.next(), Next::List);
}

#[test]
fn a_watch_that_ends_silently_is_resumed() {
    let mut bench = Bench::watching(&["a"]);
    bench.mirror.watch_ended(bench.now);
    assert!(!bench.mirror.take_event().unwrap().health().is_live());
    assert_eq!(bench.resume(), bench.next());
}

#[test]
fn a_disrupted_watch_is_kept() {
    let mut bench = Bench::watching(&["a"]);
    let event = bench.fail(disrupted()).unwrap();
    assert_eq!(names(&event), ["a"]);
    assert_eq!(bench.mirror.next(), (Duration::ZERO, Next::Read(&mut ())));
    assert!(bench.batch([]).unwrap().health().is_live());
}

#[test]
fn a_disruption_instead_of_a_watch_is_an_attempt_that_failed() {
    let mut bench = Bench::with_grace(GRACE);
    bench.list(&["a"]);
    assert!(!bench.fail(disrupted()).unwrap().health().is_live());
    let (pause, next) = bench.mirror.next();
    assert!(pause > Duration::ZERO);
    let next = matches!(next, Next::Watch { after } if after == Revision::new(bench.revision));
    assert!(next, "from where it was");
}

#[test]
fn a_list_after_a_gap_touches_only_what_differs() {
    let mut bench = Bench::with_grace(Duration::ZERO).listed_and_open(&["a", "b", "c"]);
    let before = bench.fail(gap()).unwrap();
    let after = bench
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
    let mut bench = Bench::watching(&["a", "b"]);
    bench.fail(gap());
    assert!(bench.list(&["b", "a"]).is_none());
    assert!(bench.open().unwrap().health().is_live());
}

#[test]
fn one_change_among_ten_thousand_copies_next_to_nothing() {
    let all: Vec<String> = (0..10_000).map(|n| format!("{n:05}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut bench = Bench::with_grace(GRACE);
    let before = bench.list(&all).unwrap();
    bench.open();
    let after = bench.batch([Change::Put(entry("05000", "h:2"))]).unwrap();
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
    let mut bench = Bench::watching(&["a"]);
    let mut pauses = Vec::new();
    for _ in 0..20 {
        bench.fail(interrupted());
        pauses.push(bench.mirror.next().0);
    }
    assert!(pauses[0] >= Duration::from_millis(50) && pauses[0] <= Duration::from_millis(100));
    assert!(
        pauses[10..]
            .iter()
            .all(|pause| (PAUSE / 2..=PAUSE).contains(pause))
    );
    assert_eq!(bench.mirror.next().0, Duration::ZERO, "said once");
}

#[test]
fn an_attempt_that_only_seems_to_succeed_does_not_start_the_pauses_anew() {
    let mut bench = Bench::watching(&["a"]);
    for error in [interrupted(), gap()] {
        let mut pause = Duration::ZERO;
        for _ in 0..20 {
            bench.fail(error.clone());
            pause = bench.mirror.next().0;
            if matches!(error, WatchError::Gap(_)) {
                bench.list(&["a"]);
            }
            bench.open();
            bench.batch([]);
        }
        assert!(pause >= PAUSE / 2, "{error}");
    }
    bench.wait(PAUSE);
    bench.fail(interrupted());
    assert!(
        bench.mirror.next().0 <= Duration::from_millis(100),
        "a watch that lasted does"
    );
}

#[test]
fn what_cannot_pass_is_tried_slowly() {
    let mut bench = Bench::with_grace(GRACE);
    bench.mirror.list_failed(denied(), bench.now);
    assert!(bench.mirror.next().0 >= Duration::from_secs(1));
    let mut bench = bench.listed_and_open(&["a"]);
    for _ in 0..10 {
        bench.fail(WatchError::Interrupted(denied()));
    }
    assert!(bench.mirror.next().0 >= Duration::from_secs(15));
}

#[test]
fn what_cannot_pass_is_never_tried_fast() {
    let mut bench = Bench::watching(&["a"]);
    let mut pauses = Vec::new();
    for _ in 0..20 {
        bench.fail(WatchError::Interrupted(denied()));
        pauses.push(bench.mirror.next().0);
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
        let mut bench = Bench::with(GRACE, longest).listed_and_open(&["a"]);
        for _ in 0..50 {
            bench.fail(interrupted());
            let pause = bench.mirror.next().0;
            assert!(pause >= least, "{pause:?} of at most {longest:?}");
        }
    }
}

// === Health ===

#[test]
fn staleness_names_the_first_trouble_and_trouble_the_last() {
    let mut bench = Bench::watching(&["a"]);
    let since = bench.now;
    let event = bench.fail(disrupted()).unwrap();
    assert!(why(event.health()).contains("silence"));
    bench.now += Duration::from_secs(3);
    assert!(
        bench.fail(interrupted()).is_none(),
        "still the same episode"
    );
    assert!(bench.fail(gap()).is_none());
    bench
        .mirror
        .list_failed(Error::unavailable("refused"), bench.now);
    assert!(bench.mirror.take_event().is_none());
    assert!(matches!(bench.mirror.trouble(), Some(Trouble::List(_))));
    let event = bench.list(&["a", "b"]).unwrap();
    let Health::Stale { since: stale, .. } = event.health() else {
        panic!("a list without a watch is not enough");
    };
    assert_eq!(*stale, since);
    assert!(bench.open().unwrap().health().is_live());
    assert!(bench.mirror.trouble().is_none());
}

#[test]
fn trouble_between_the_first_list_and_its_watch_is_trouble() {
    let mut bench = Bench::with_grace(GRACE);
    bench.list(&["a"]);
    assert!(!bench.fail(interrupted()).unwrap().health().is_live());
    bench.open();
    assert_eq!(held(&bench.batch([delete("a")]).unwrap()), ["a"]);
}

// === Stabilisation ===

#[test]
fn removals_apply_at_once_while_all_is_well() {
    let mut bench = Bench::with_grace(GRACE);
    bench
        .mirror
        .list_failed(Error::unavailable("not up yet"), bench.now);
    let mut bench = bench.listed_and_open(&["a", "b"]);
    assert_eq!(bench.mirror.deadline(), None);
    let event = bench.batch([delete("a")]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["b"], vec![]));
}

#[test]
fn after_any_trouble_additions_apply_and_removals_wait() {
    // Each leads from trouble back to health, with "b" removed on the way.
    type Way = (&'static str, fn(&mut Bench));
    let ways: [Way; 6] = [
        ("a disruption", |bench| {
            bench.fail(disrupted());
            bench.batch([delete("b")]);
        }),
        ("a disruption that is over", |bench| {
            bench.fail(disrupted());
            bench.batch([]);
            bench.batch([delete("b")]);
        }),
        ("an interruption", |bench| {
            bench.fail(interrupted());
            bench.open();
            bench.batch([delete("b")]);
        }),
        ("a silent end", |bench| {
            bench.mirror.watch_ended(bench.now);
            bench.open();
            bench.batch([delete("b")]);
        }),
        ("a gap", |bench| {
            bench.fail(gap());
            bench.list(&["a"]);
            bench.open();
        }),
        ("a list that failed", |bench| {
            bench.fail(gap());
            bench
                .mirror
                .list_failed(Error::unavailable("down"), bench.now);
            bench.list(&["a"]);
            bench.open();
        }),
    ];
    for (name, way) in ways {
        let mut bench = Bench::watching(&["a", "b"]);
        way(&mut bench);
        let event = bench
            .batch([put("c"), Change::Put(entry("a", "h:2"))])
            .unwrap();
        assert_eq!(names(&event), ["a", "b", "c"], "{name}");
        assert_eq!(held(&event), ["b"], "{name}");
        assert!(event.health().is_live(), "{name}");
        assert_eq!(
            event.instances().get(&key("a")).unwrap().address(),
            "h:2",
            "{name}"
        );
        assert_eq!(bench.mirror.deadline(), Some(bench.now + GRACE), "{name}");
        assert!(
            bench.wait(GRACE - Duration::from_millis(1)).is_none(),
            "{name}"
        );
        let event = bench.wait(Duration::from_millis(1)).unwrap();
        assert_eq!(names(&event), ["a", "c"], "{name}");
        assert!(held(&event).is_empty(), "{name}");
        assert_eq!(bench.mirror.deadline(), None, "{name}");
        let event = bench.batch([delete("a")]).unwrap();
        assert_eq!(names(&event), ["c"], "{name}: settled again");
    }
}

#[test]
fn each_trouble_starts_the_wait_anew() {
    let mut bench = Bench::watching(&["a", "b"]);
    let first = bench.now;
    bench.fail(disrupted());
    bench.batch([delete("a")]);
    bench.wait(GRACE - Duration::from_secs(1));
    bench.fail(interrupted());
    assert_eq!(bench.mirror.deadline(), None);
    assert!(
        bench.wait(GRACE * 10).is_none(),
        "not while the trouble lasts"
    );
    bench.open();
    let event = bench.batch([delete("b")]).unwrap();
    assert_eq!(names(&event), ["a", "b"]);
    let since: Vec<_> = event.held().map(|(_, held)| held.since).collect();
    assert_eq!(since, [first, bench.now]);
    let why: Vec<_> = event.held().map(|(_, held)| chain(&held.why)).collect();
    assert!(
        why[0].contains("silence") && why[1].contains("broken pipe"),
        "{why:?}"
    );
    assert!(bench.wait(GRACE - Duration::from_secs(1)).is_none());
    assert!(names(&bench.wait(Duration::from_secs(1)).unwrap()).is_empty());
}

#[test]
fn what_is_put_again_is_not_held_any_more() {
    let mut bench = Bench::watching(&["a", "b"]);
    let before = bench.fail(disrupted()).unwrap();
    bench.batch([delete("a"), delete("b")]);
    let event = bench.batch([put("a")]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["a", "b"], vec!["b"]));
    let (old, new) = (
        before.instances().get(&key("a")),
        event.instances().get(&key("a")),
    );
    assert!(Arc::ptr_eq(old.unwrap(), new.unwrap()));
    bench.fail(gap());
    bench.list(&["a", "b"]);
    let event = bench.open().unwrap();
    assert!(held(&event).is_empty(), "a list has it again");
    assert!(bench.wait(GRACE).is_none());
}

#[test]
fn what_a_second_list_misses_too_is_held_since_the_first() {
    let mut bench = Bench::watching(&["a", "b"]);
    bench.fail(gap());
    bench.list(&["a"]);
    let since = bench.now;
    bench.wait(Duration::from_secs(5));
    bench.fail(gap());
    assert!(bench.list(&["a"]).is_none());
    let event = bench.open().unwrap();
    let (_, held) = event.held().next().unwrap();
    assert_eq!(held.since, since);
}

#[test]
fn an_announced_removal_is_never_held() {
    let mut bench = Bench::watching(&["a", "b", "c"]);
    bench.batch([draining("a")]);
    bench.fail(disrupted());
    let event = bench
        .batch([delete("a"), delete("b"), draining("c"), delete("c")])
        .unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["b"], vec!["b"]));
    bench.batch([draining("b")]);
    let event = bench.batch([delete("b")]).unwrap();
    assert!(names(&event).is_empty() && held(&event).is_empty());
    let mut bench = Bench::watching(&["a"]);
    bench.batch([draining("a")]);
    bench.fail(gap());
    assert!(names(&bench.list(&[]).unwrap()).is_empty());
}

#[test]
fn a_draining_instance_is_shown_as_such() {
    let mut bench = Bench::watching(&["a"]);
    let event = bench.batch([draining("a")]).unwrap();
    let status = event.instances().get(&key("a")).map(|i| i.status());
    assert_eq!(status, Some(Status::Draining));
}

#[test]
fn without_a_grace_period_nothing_is_held() {
    let mut bench = Bench::with_grace(Duration::ZERO).listed_and_open(&["a", "b"]);
    bench.fail(disrupted());
    let event = bench.batch([delete("a")]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["b"], vec![]));
    bench.fail(gap());
    assert!(names(&bench.list(&[]).unwrap()).is_empty());
}

#[test]
fn an_endless_grace_period_never_ends() {
    let mut bench = Bench::with_grace(Duration::MAX).listed_and_open(&["a"]);
    bench.fail(disrupted());
    bench.batch([delete("a")]);
    assert_eq!(bench.mirror.deadline(), None);
    assert!(bench.wait(GRACE * 1000).is_none());
}

// === Values that cannot be read ===

#[test]
fn what_cannot_be_read_is_counted_and_hides_nobody() {
    let mut bench = Bench::with_grace(GRACE);
    let event = bench
        .list_entries(vec![
            entry("a", ""),
            entry("b", "h:1"),
            entry("c", "{\"x\":1}"),
        ])
        .unwrap();
    assert_eq!(names(&event), ["b"]);
    assert_eq!(
        (bench.mirror.skipped(), bench.mirror.shown.unreadable()),
        (2, 2)
    );
    bench.open();
    assert!(bench.batch([Change::Put(entry("d", "?"))]).is_none());
    assert_eq!(bench.mirror.skipped(), 3);
    let event = bench.batch([put("a"), delete("c"), delete("d")]).unwrap();
    assert_eq!(names(&event), ["a", "b"]);
    assert_eq!(bench.mirror.shown.unreadable(), 0);
}

#[test]
fn keys_that_are_not_text_are_counted() {
    let mut bench = Bench::watching(&["a"]);
    let mut batch = Batch::new(vec![], Revision::new(7_u64));
    batch.skipped = 5;
    bench.mirror.batch(batch, bench.now);
    assert_eq!(bench.mirror.skipped(), 5);
    assert!(bench.mirror.take_event().is_none());
}

#[test]
fn a_value_that_becomes_unreadable_is_a_removal() {
    let mut bench = Bench::watching(&["a", "b"]);
    let event = bench.batch([Change::Put(entry("a", "?"))]).unwrap();
    assert_eq!(names(&event), ["b"]);
    bench.fail(disrupted());
    let event = bench.batch([Change::Put(entry("b", "?"))]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["b"], vec!["b"]));
    bench.fail(gap());
    bench.list_entries(vec![entry("b", "?")]);
    bench.open();
    assert!(names(&bench.wait(GRACE).unwrap()).is_empty());
}

#[test]
fn what_a_list_no_longer_has_is_not_remembered_as_unreadable() {
    let mut bench = Bench::with_grace(GRACE);
    bench.list_entries(vec![entry("a", "?"), entry("b", "?")]);
    bench.open();
    bench.fail(gap());
    bench.list_entries(vec![entry("b", "?")]);
    assert_eq!(bench.mirror.shown.unreadable(), 1);
}

#[test]
fn a_million_unreadable_keys_are_not_all_remembered() {
    let mut bench = Bench::watching(&[]);
    bench.batch((0..3_000).map(|n| Change::Put(entry(&n.to_string(), "?"))));
    assert_eq!(bench.mirror.skipped(), 3_000);
    assert!(bench.mirror.shown.unreadable() <= 1024);
}

#[test]
fn a_codec_that_changes_the_key_is_not_trusted() {
    struct Wrong;
    impl Codec for Wrong {
        fn decode(&self, _: &Entry) -> Result<Instance, CodecError> {
            Ok(Instance::new(Key::new("elsewhere").unwrap(), "h:1"))
        }
        fn encode(&self, _: &Instance) -> Result<bytes::Bytes, CodecError> {
            Err(CodecError::new("never"))
        }
    }
    let mut bench = Bench::with_grace(GRACE);
    bench.mirror.shown.set_codec(Wrong);
    assert!(bench.list(&["a"]).unwrap().instances().is_empty());
    assert_eq!(bench.mirror.skipped(), 1);
}

/// Panics on values that are not UTF-8.
struct Careless;

impl Codec for Careless {
    fn decode(&self, entry: &Entry) -> Result<Instance, CodecError> {
        let text = std::str::from_utf8(&entry.value).expect("text");
        Ok(Instance::new(entry.key.clone(), text))
    }

    fn encode(&self, _: &Instance) -> Result<bytes::Bytes, CodecError> {
        Err(CodecError::new("never"))
    }
}

#[test]
fn a_codec_that_panics_costs_the_one_entry() {
    let lines = Lines::read();
    let bad = || Entry::new(key("bad"), vec![0xff, 0xfe]);
    let mut bench = Bench::with_grace(GRACE);
    bench.mirror.shown.set_codec(Careless);
    let event = bench.list_entries(vec![bad(), entry("a", "h:1")]).unwrap();
    assert_eq!(names(&event), ["a"]);
    bench.open();
    assert!(bench.batch([Change::Put(bad())]).is_none());
    assert_eq!(
        (bench.mirror.skipped(), bench.mirror.shown.unreadable()),
        (2, 1)
    );
    let said = lines.all();
    let said: Vec<_> = said
        .iter()
        .filter(|line| line.contains("skipped"))
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("the codec panicked: text"), "{said:?}");
    let event = bench.batch([delete("bad"), put("b")]).unwrap();
    assert_eq!(names(&event), ["a", "b"]);
    assert_eq!(bench.mirror.shown.unreadable(), 0);
}
