//! Entries that cannot be read.

use super::{limits::limited, *};
use crate::instances::Decoded;

#[test]
fn what_cannot_be_read_is_counted_and_hides_nobody() {
    let mut fixture = Fixture::with_grace(GRACE);
    let event = fixture
        .list_entries(vec![
            entry("a", ""),
            entry("b", "h:1"),
            entry("c", "{\"x\":1}"),
        ])
        .unwrap();
    assert_eq!(names(&event), ["b"]);
    assert_eq!(
        (fixture.mirror.skipped(), fixture.mirror.shown.unreadable()),
        (2, 2)
    );
    assert_eq!(event.unreadable(), 2);
    fixture.open();
    let event = fixture.batch([Change::Put(entry("d", "?"))]).unwrap();
    assert_eq!((names(&event), event.unreadable()), (vec!["b"], 3));
    assert_eq!(fixture.mirror.skipped(), 3);
    assert!(fixture.batch([Change::Put(entry("d", "!"))]).is_none());
    let event = fixture.batch([put("a"), delete("c"), delete("d")]).unwrap();
    assert_eq!((names(&event), event.unreadable()), (vec!["a", "b"], 0));
    assert_eq!(fixture.mirror.shown.unreadable(), 0);
}

/// Hostile row 8: whatever codec has read it, an address that the policy refuses is no instance.
#[test]
fn an_address_that_the_policy_refuses_is_left_out_and_hides_nobody() {
    let log = Log::capture();
    let mut fixture = Fixture::with_grace(GRACE);
    fixture.mirror.shown.set_codec(Careless);
    let event = fixture
        .list_entries(vec![
            entry("a", "169.254.169.254:80"),
            entry("b", "h:1"),
            entry("c", "unix:///run/docker.sock"),
        ])
        .unwrap();
    assert_eq!((names(&event), event.unreadable()), (vec!["b"], 2));
    let said = log.text();
    let is_said = |part: &str| said.iter().any(|line| line.contains(part));
    assert!(is_said("link-local") && is_said("no host"), "{said:?}");
}

#[test]
fn keys_that_are_not_text_are_counted() {
    let mut fixture = Fixture::watching(&["a"]);
    let mut batch = Batch::new(vec![], Revision::new(7_u64));
    batch.skipped = 5;
    fixture.mirror.batch(batch, fixture.now);
    assert_eq!(fixture.mirror.skipped(), 5);
    assert!(fixture.mirror.take_event().is_none());
}

#[test]
fn a_value_that_becomes_unreadable_is_doubted() {
    let mut fixture = Fixture::watching(&["a", "b", "c"]);
    let unreadable = |name| Change::Put(entry(name, "?"));
    let event = fixture.batch([unreadable("a")]).unwrap();
    assert_eq!(
        (names(&event), held(&event)),
        (vec!["a", "b", "c"], vec!["a"])
    );
    let (_, why) = event.held().next().unwrap();
    assert!(matches!(why.why, Trouble::Unreadable));
    assert!(fixture.batch([Change::Put(entry("a", "??"))]).is_none());
    // Readable again, with the same address as before.
    assert!(held(&fixture.batch([put("a")]).unwrap()).is_empty());
    // Deleted after all: nobody doubts that on a healthy registry.
    fixture.batch([unreadable("a")]).unwrap();
    assert_eq!(names(&fixture.batch([delete("a")]).unwrap()), ["b", "c"]);
    // Nothing else happens.
    let event = fixture.batch([unreadable("b")]).unwrap();
    assert_eq!(held(&event), ["b"]);
    assert_eq!(names(&fixture.wait(GRACE).unwrap()), ["c"]);
}

#[test]
fn one_that_drains_and_becomes_unreadable_is_gone() {
    let mut fixture = Fixture::watching(&["a", "b"]);
    let draining = r#"{"address":"h:1","status":"draining"}"#;
    fixture.batch([Change::Put(entry("a", draining))]).unwrap();
    let event = fixture.batch([Change::Put(entry("a", "?"))]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["b"], vec![]));
}

/// The parts of one entry come and go as if each had an entry of its own.
#[test]
fn several_instances_of_one_entry_come_shrink_and_go_with_it() {
    struct Nodes;
    impl Codec for Nodes {
        fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
            let text = std::str::from_utf8(&entry.value).map_err(|_| CodecError::new("no text"))?;
            let address = |node: &str| format!("{node}:1");
            let nodes = text
                .split_terminator(',')
                .map(|node| Instance::new(entry.key.clone(), address(node)).with_part(node));
            Ok(Decoded::from_iter(nodes))
        }
        fn encode(&self, _: &Instance) -> Result<bytes::Bytes, CodecError> {
            Err(CodecError::cannot_say("a part"))
        }
    }
    let mut fixture = Fixture::with_grace(GRACE);
    fixture.mirror.shown.set_codec(Nodes);
    let shown = |event: &Event| -> Vec<String> {
        let all = event.instances().iter();
        all.map(|it| format!("{}", it.identity())).collect()
    };
    let event = fixture
        .list_entries(vec![entry("a", "x,y"), entry("b", "x")])
        .unwrap();
    assert_eq!(shown(&event), ["/svc/a#x", "/svc/a#y", "/svc/b#x"]);
    fixture.open();
    fixture.wait(GRACE);
    let event = fixture.batch([Change::Put(entry("a", "y,z"))]).unwrap();
    assert_eq!(shown(&event), ["/svc/a#y", "/svc/a#z", "/svc/b#x"]);
    let event = fixture.batch([Change::Put(entry("b", ""))]).unwrap();
    assert_eq!(shown(&event), ["/svc/a#y", "/svc/a#z"]);
    assert_eq!(event.unreadable(), 0);
    // Two of the same part: neither is believed, and what was shown is doubted.
    let event = fixture.batch([Change::Put(entry("a", "y,y"))]).unwrap();
    assert_eq!((shown(&event).len(), event.held().count()), (2, 2));
    let event = fixture.batch([Change::Put(entry("a", "y,z"))]).unwrap();
    assert_eq!(event.held().count(), 0);
    fixture.batch([delete("a")]);
    assert!(shown(&fixture.wait(GRACE).unwrap()).is_empty());
}

/// A part is told from all others by a zero byte, which no key of an instance has therefore.
#[test]
fn a_key_with_a_zero_byte_is_no_instance() {
    let mut fixture = Fixture::watching(&["a"]);
    let event = fixture.batch([put("a\0b")]).unwrap();
    assert_eq!((names(&event), event.unreadable()), (vec!["a"], 1));
}

#[test]
fn what_a_list_no_longer_has_is_not_remembered_as_unreadable() {
    let mut fixture = Fixture::with_grace(GRACE);
    fixture.list_entries(vec![entry("a", "?"), entry("b", "?")]);
    fixture.open();
    fixture.fail(gap());
    fixture.list_entries(vec![entry("b", "?")]);
    assert_eq!(fixture.mirror.shown.unreadable(), 1);
}

#[test]
fn a_million_unreadable_keys_are_not_all_remembered() {
    let mut fixture = Fixture::watching(&[]);
    fixture.batch((0..3_000).map(|n| Change::Put(entry(&n.to_string(), "?"))));
    assert_eq!(fixture.mirror.skipped(), 3_000);
    assert!(fixture.mirror.shown.unreadable() <= 1024);
}

#[test]
fn a_codec_that_changes_the_key_is_not_trusted() {
    struct Wrong;
    impl Codec for Wrong {
        fn decode(&self, _: &Entry) -> Result<Decoded, CodecError> {
            Ok(Instance::new(Key::new("elsewhere").unwrap(), "h:1").into())
        }
        fn encode(&self, _: &Instance) -> Result<bytes::Bytes, CodecError> {
            Err(CodecError::new("never"))
        }
    }
    let mut fixture = Fixture::with_grace(GRACE);
    fixture.mirror.shown.set_codec(Wrong);
    assert!(fixture.list(&["a"]).unwrap().instances().is_empty());
    assert_eq!(fixture.mirror.skipped(), 1);
}

/// Panics on values that are not UTF-8.
struct Careless;

impl Codec for Careless {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let text = std::str::from_utf8(&entry.value).expect("text");
        Ok(Instance::new(entry.key.clone(), text).into())
    }

    fn encode(&self, _: &Instance) -> Result<bytes::Bytes, CodecError> {
        Err(CodecError::new("never"))
    }
}

#[test]
fn a_codec_that_panics_costs_the_one_entry() {
    let log = Log::capture();
    let bad = || Entry::new(key("bad"), vec![0xff, 0xfe]);
    let mut fixture = Fixture::with_grace(GRACE);
    fixture.mirror.shown.set_codec(Careless);
    let event = fixture
        .list_entries(vec![bad(), entry("a", "h:1")])
        .unwrap();
    assert_eq!(names(&event), ["a"]);
    fixture.open();
    assert!(fixture.batch([Change::Put(bad())]).is_none());
    assert_eq!(
        (fixture.mirror.skipped(), fixture.mirror.shown.unreadable()),
        (2, 1)
    );
    let said = log.text();
    let said: Vec<_> = said
        .iter()
        .filter(|line| line.contains("skipped"))
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("the codec panicked: text"), "{said:?}");
    let event = fixture.batch([delete("bad"), put("b")]).unwrap();
    assert_eq!(names(&event), ["a", "b"]);
    assert_eq!(fixture.mirror.shown.unreadable(), 0);
}

/// Row 34: the instance stays, and the attribute that cannot be read is said once.
#[test]
fn an_attribute_that_cannot_be_read_is_said_once() {
    let log = Log::capture();
    let strange = |weight: &str| {
        let value = format!(r#"{{"address":"h:1","weight":{weight}}}"#);
        Change::Put(entry("a", value))
    };
    let mut fixture = Fixture::watching(&["a"]);
    assert!(
        fixture.batch([strange("\"10%\"")]).is_none(),
        "no weight is weight 1"
    );
    for _ in 0..3 {
        fixture.batch([strange("\"10%\"")]);
    }
    assert_eq!(
        (fixture.mirror.skipped(), fixture.mirror.shown.unreadable()),
        (0, 0)
    );
    let said = || {
        let lines = log.text().into_iter();
        lines
            .filter(|line| line.contains("attribute ignored"))
            .count()
    };
    assert_eq!(said(), 1);
    fixture.batch([strange("2.5")]);
    assert_eq!(said(), 1, "the same error");
    fixture.batch([strange("2.5,\"zone\":1")]);
    assert_eq!(said(), 2, "another error");
    fixture.wait(Duration::from_secs(60));
    fixture.batch([strange("2")]);
    fixture.batch([strange("2.5")]);
    assert_eq!(said(), 3, "again after it could be read");
}

#[test]
fn many_unreadable_entries_are_a_handful_of_lines_and_a_count() {
    let log = Log::capture();
    let mut fixture = Fixture::watching(&[]);
    fixture.batch((0..3_000).map(|n| Change::Put(entry(&n.to_string(), "?"))));
    let all = log.text();
    let count = |text: &str| all.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("WARN entry skipped"), 2, "{all:?}");
    assert_eq!(count("WARN more entries skipped"), 1, "{all:?}");
    assert_eq!(count("entries=2998"), 1, "{all:?}");
}

#[test]
fn an_entry_that_changes_from_one_junk_to_another_does_not_fill_the_log() {
    let log = Log::capture();
    let mut fixture = Fixture::watching(&[]);
    for n in 0..3_600 {
        fixture.now += Duration::from_secs(1);
        let junk = if n % 2 == 0 { "{" } else { "?" };
        fixture.batch([Change::Put(entry("a", junk))]);
        fixture.batch([delete("a")]);
    }
    let warnings = log.text().into_iter().filter(|it| it.contains("skipped"));
    let warnings: Vec<_> = warnings.collect();
    assert!((10..=40).contains(&warnings.len()), "{warnings:?}");
    assert_eq!(fixture.mirror.skipped(), 3_600);
}

/// Hostile row 7: whatever comes and goes under a prefix, and in whatever form, also where the registry
/// interrupts each watch and forgets its history, a minute has seven lines at most (and three of an
/// endpointer), and all that is remembered are hashes.
#[test]
fn junk_in_any_form_is_ten_lines_a_minute() {
    let log = Log::capture();
    let mut fixture = limited(PrefixLimits::default().instances(50));
    fixture.list(&["a", "b", "c"]);
    fixture.open();
    fixture.wait(GRACE);
    log.clear();
    let long = "k".repeat(100_000);
    for n in 0..600 {
        fixture.now += Duration::from_millis(100);
        let strange = format!(r#"{{"address":"h:1","weight":"{n}%"}}"#);
        let junk = if n % 2 == 0 { "{" } else { "?" };
        fixture.batch([
            Change::Put(entry("flaps", junk)),
            Change::Put(entry("strange", strange)),
            Change::Put(entry(&format!("{n}{long}"), "junk")),
            Change::Put(entry(&n.to_string(), "h:1")),
        ]);
        let many = (0..10).map(|m| format!("wave{n}-{m}"));
        let many: Vec<_> = many.collect();
        fixture.batch(many.iter().map(|name| put(name)));
        fixture.batch(many.iter().map(|name| delete(name)));
        fixture.batch([delete(&format!("{n}{long}")), delete("strange")]);
        let refused = Error::transient("no");
        match n % 10 {
            0 => drop(fixture.fail(gap())),
            5 => drop(fixture.fail(WatchError::Interrupted(refused))),
            _ => continue,
        }
        if matches!(fixture.next(), Next::List) {
            fixture.list(&["a", "b", "c", "d"]);
        }
        fixture.open();
    }
    let lines = log.text();
    let is_there = |part: &str| lines.iter().any(|line| line.contains(part));
    for part in ["skipped", "ignored", "missed", "held back", "left out"] {
        assert!(is_there(part), "{part}: {lines:?}");
    }
    assert!(lines.len() <= 7, "{lines:?}");
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    assert!(bytes <= 7 * 2_000, "{bytes}");
}
