//! What is kept of a prefix that others fill.

use super::*;
use crate::instances::Decoded;

const RELIST: Duration = Duration::from_secs(30);

pub(super) fn limited(limits: PrefixLimits) -> Fixture {
    let mut fixture = Fixture::by(RemovalRules::default(), PAUSE);
    let decoder = EntryDecoder {
        most_bytes: limits.entry_bytes,
        ..EntryDecoder::default()
    };
    fixture.mirror = Mirror::new(prefix(), decoder, RemovalRules::default(), limits, PAUSE);
    fixture
}

fn is_over_limits(event: &Event) -> bool {
    matches!(
        event.health(),
        Health::Stale {
            why: Trouble::OverLimits { .. },
            ..
        }
    )
}

/// Hostile row 4: what is shown stays, what is more is left out, and the source says so.
#[test]
fn more_instances_than_the_limit_are_left_out_and_none_is_taken_away() {
    let log = Log::capture();
    let mut fixture = limited(PrefixLimits::default().instances(3));
    fixture.list(&["a", "b"]);
    fixture.open();
    let event = fixture.batch([put("c")]).unwrap();
    assert!(event.health().is_live());
    let event = fixture.batch((0..1_000).map(|n| put(&format!("evil{n}"))));
    let event = event.unwrap();
    assert_eq!(names(&event), ["a", "b", "c"]);
    assert!(is_over_limits(&event), "{event}");
    fixture.fail(disrupted());
    let event = fixture.answer();
    assert!(event.is_some_and(|event| is_over_limits(&event)));
    // What is shown is followed.
    let moved = Change::Put(entry("a", "h:2"));
    let event = fixture.batch([moved]).unwrap();
    assert_eq!(event.instances().get("/svc/a").unwrap().address(), "h:2");
    let said = log.text();
    let said = said.iter().filter(|line| line.contains("left out"));
    assert_eq!(said.count(), 1);
}

/// Hostile row 4: what was left out is shown once there is room, by one list in a while.
#[test]
fn what_was_left_out_is_listed_when_there_is_room() {
    let mut fixture = limited(PrefixLimits::default().instances(2));
    fixture.list(&["a", "b"]);
    fixture.open();
    fixture.wait(GRACE);
    fixture.batch([delete("b")]);
    let event = fixture.batch([put("evil"), put("z")]).unwrap();
    assert!(is_over_limits(&event), "{event}");
    assert_eq!(names(&event), ["a", "evil"]);
    fixture.wait(RELIST);
    assert!(matches!(fixture.next(), Next::Read(_)), "no room yet");
    fixture.batch([delete("evil")]);
    fixture.wait(RELIST);
    assert_eq!(fixture.next(), Next::List);
    let event = fixture.list(&["a", "z"]).unwrap();
    assert_eq!(names(&event), ["a", "z"]);
    let event = fixture.open().unwrap();
    assert!(event.health().is_live(), "{event}");
}

/// Hostile row 4: room is also what a smaller value leaves, and nothing is left out any more where a later
/// value of the same key fits. Found by fuzzing.
#[test]
fn what_was_left_out_is_listed_when_a_value_shrinks_or_is_taken_back() {
    let sized = |name: &str, zone: usize| {
        let zone = "z".repeat(zone);
        entry(name, format!(r#"{{"address":"h:1","zone":"{zone}"}}"#))
    };
    for later in [sized("b", 10), sized("a", 30_000)] {
        let mut fixture = limited(PrefixLimits::default().bytes(100_000));
        fixture.list_entries(vec![sized("a", 30_000), sized("b", 40_000)]);
        fixture.open();
        let event = fixture.batch([Change::Put(sized("a", 60_000))]).unwrap();
        assert!(is_over_limits(&event), "{event}");
        fixture.wait(RELIST);
        assert!(matches!(fixture.next(), Next::Read(_)), "no room yet");

        fixture.batch([Change::Put(later.clone())]);
        fixture.wait(RELIST);
        assert_eq!(fixture.next(), Next::List, "{later:?}");
    }
}

/// Hostile row 4: an entry that becomes more than it may is none, and is not kept while it is judged.
#[test]
fn large_entries_are_skipped() {
    struct Counts;
    impl Codec for Counts {
        fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
            assert!(entry.value.len() < 200_000, "it was judged");
            if entry.value == "amplified" {
                let one = Instance::new(entry.key.clone(), "h:1");
                let parts = (0..1_000).map(|part| one.clone().with_part(part.to_string()));
                return Ok(Decoded::from_iter(parts));
            }
            DefaultCodec.decode(entry)
        }
        fn encode(&self, instance: &Instance) -> Result<bytes::Bytes, CodecError> {
            DefaultCodec.encode(instance)
        }
    }
    let mut fixture = limited(PrefixLimits::default());
    fixture.mirror.shown.set_codec(Counts);
    let event = fixture
        .list_entries(vec![
            entry("a", "h:1"),
            entry("b", "amplified"),
            entry("large", "x".repeat(200_000)),
            entry(&"key".repeat(100_000), "h:1"),
        ])
        .unwrap();
    assert_eq!((names(&event), event.unreadable()), (vec!["a"], 3));
}

/// Hostile row 4: all instances together are bounded in bytes, and an update counts by its difference.
#[test]
fn the_instances_of_a_prefix_are_bounded_in_bytes() {
    let large = |name: &str, zone: usize| {
        let zone = "z".repeat(zone);
        Change::Put(entry(
            name,
            format!(r#"{{"address":"h:1","zone":"{zone}"}}"#),
        ))
    };
    let mut fixture = limited(PrefixLimits::default().bytes(100_000));
    fixture.list(&["a"]);
    fixture.open();
    for n in 0..100 {
        fixture.batch([large("b", 40_000 + n)]);
    }
    let event = fixture.batch([large("c", 40_000)]).unwrap();
    assert!(event.health().is_live(), "{event}");
    let event = fixture.batch([large("d", 40_000)]).unwrap();
    assert_eq!(names(&event), ["a", "b", "c"]);
    assert!(is_over_limits(&event));
    let kept = event
        .instances()
        .get("/svc/b")
        .unwrap()
        .zone()
        .map(str::len);
    fixture.batch([large("b", 60_000)]);
    let shown = fixture.mirror.shown.instances();
    assert_eq!(shown.get("/svc/b").unwrap().zone().map(str::len), kept);
    fixture.batch([large("b", 10)]);
    fixture.batch([large("d", 40_000)]);
    assert!(fixture.mirror.shown.instances().get("/svc/d").is_some());
}

/// Hostile rows 4 and 7: that entries are left out is said, if later, where the log was full of other things.
#[test]
fn what_the_log_has_no_room_for_is_said_once_it_has() {
    let mut fixture = limited(PrefixLimits::default().instances(1));
    fixture.list(&["a"]);
    for _ in 0..10 {
        fixture.fail(gap());
        fixture.list(&["a"]);
        fixture.open();
    }
    let log = Log::capture();
    let said = |part: &str| log.text().iter().filter(|it| it.contains(part)).count();
    let refused = || WatchError::Interrupted(Error::permanent("no"));
    fixture.batch([put("b")]);
    fixture.fail(refused());
    fixture.open();
    assert_eq!(log.text(), [""; 0]);
    fixture.wait(Duration::from_secs(60));
    fixture.answer();
    assert_eq!(said("instances left out"), 1);
    fixture.fail(refused());
    assert_eq!(said("not following until"), 1);
    fixture.answer();
    fixture.answer();
    assert_eq!(log.text().len(), 2, "each once: {:?}", log.text());
}
