//! Removals after trouble.

use super::*;

#[test]
fn removals_apply_at_once_while_all_is_well() {
    let mut fixture = Fixture::with_grace(GRACE);
    fixture
        .mirror
        .list_failed(Error::unavailable("not up yet"), fixture.now);
    let mut fixture = fixture.listed_and_open(&["a", "b"]);
    assert_eq!(fixture.mirror.deadline(), None);
    let event = fixture.batch([delete("a")]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["b"], vec![]));
}

#[test]
fn after_any_trouble_additions_apply_and_removals_wait() {
    // Each function leads from trouble back to health, and removes "b" in between.
    type Way = (&'static str, fn(&mut Fixture));
    let ways: [Way; 6] = [
        ("a disruption", |fixture| {
            fixture.fail(disrupted());
            fixture.batch([delete("b")]);
        }),
        ("a disruption that is over", |fixture| {
            fixture.fail(disrupted());
            fixture.batch([]);
            fixture.batch([delete("b")]);
        }),
        ("an interruption", |fixture| {
            fixture.fail(interrupted());
            fixture.open();
            fixture.batch([delete("b")]);
        }),
        ("a silent end", |fixture| {
            fixture.mirror.watch_ended(fixture.now);
            fixture.open();
            fixture.batch([delete("b")]);
        }),
        ("a gap", |fixture| {
            fixture.fail(gap());
            fixture.list(&["a"]);
            fixture.open();
        }),
        ("a list that failed", |fixture| {
            fixture.fail(gap());
            fixture
                .mirror
                .list_failed(Error::unavailable("down"), fixture.now);
            fixture.list(&["a"]);
            fixture.open();
        }),
    ];
    for (name, way) in ways {
        let mut fixture = Fixture::watching(&["a", "b"]);
        way(&mut fixture);
        let event = fixture
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
        assert_eq!(
            fixture.mirror.deadline(),
            Some(fixture.now + GRACE),
            "{name}"
        );
        assert!(
            fixture.wait(GRACE - Duration::from_millis(1)).is_none(),
            "{name}"
        );
        let event = fixture.wait(Duration::from_millis(1)).unwrap();
        assert_eq!(names(&event), ["a", "c"], "{name}");
        assert!(held(&event).is_empty(), "{name}");
        assert_eq!(fixture.mirror.deadline(), None, "{name}");
        let event = fixture.batch([delete("a")]).unwrap();
        assert_eq!(names(&event), ["c"], "{name}: settled again");
    }
}

#[test]
fn each_trouble_starts_the_wait_anew() {
    let mut fixture = Fixture::watching(&["a", "b"]);
    let first = fixture.now;
    fixture.fail(disrupted());
    fixture.batch([delete("a")]);
    fixture.wait(GRACE - Duration::from_secs(1));
    fixture.fail(interrupted());
    assert_eq!(fixture.mirror.deadline(), None);
    assert!(
        fixture.wait(GRACE * 10).is_none(),
        "not while the trouble lasts"
    );
    fixture.open();
    let event = fixture.batch([delete("b")]).unwrap();
    assert_eq!(names(&event), ["a", "b"]);
    let since: Vec<_> = event.held().map(|(_, held)| held.since).collect();
    assert_eq!(since, [first, fixture.now]);
    let why: Vec<_> = event.held().map(|(_, held)| chain(&held.why)).collect();
    assert!(
        why[0].contains("silence") && why[1].contains("broken pipe"),
        "{why:?}"
    );
    assert!(fixture.wait(GRACE - Duration::from_secs(1)).is_none());
    assert!(names(&fixture.wait(Duration::from_secs(1)).unwrap()).is_empty());
}

#[test]
fn what_is_put_again_is_not_held_any_more() {
    let mut fixture = Fixture::watching(&["a", "b"]);
    let before = fixture.fail(disrupted()).unwrap();
    fixture.batch([delete("a"), delete("b")]);
    let event = fixture.batch([put("a")]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["a", "b"], vec!["b"]));
    let (old, new) = (
        before.instances().get(&key("a")),
        event.instances().get(&key("a")),
    );
    assert!(Arc::ptr_eq(old.unwrap(), new.unwrap()));
    fixture.fail(gap());
    fixture.list(&["a", "b"]);
    let event = fixture.open().unwrap();
    assert!(held(&event).is_empty(), "a list has it again");
    assert!(fixture.wait(GRACE).is_none());
}

#[test]
fn what_a_second_list_misses_too_is_held_since_the_first() {
    let mut fixture = Fixture::watching(&["a", "b"]);
    fixture.fail(gap());
    fixture.list(&["a"]);
    let since = fixture.now;
    fixture.wait(Duration::from_secs(5));
    fixture.fail(gap());
    assert!(fixture.list(&["a"]).is_none());
    let event = fixture.open().unwrap();
    let (_, held) = event.held().next().unwrap();
    assert_eq!(held.since, since);
}

#[test]
fn an_announced_removal_is_never_held() {
    let mut fixture = Fixture::watching(&["a", "b", "c"]);
    fixture.batch([draining("a")]);
    fixture.fail(disrupted());
    let event = fixture
        .batch([delete("a"), delete("b"), draining("c"), delete("c")])
        .unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["b"], vec!["b"]));
    fixture.batch([draining("b")]);
    let event = fixture.batch([delete("b")]).unwrap();
    assert!(names(&event).is_empty() && held(&event).is_empty());
    let mut fixture = Fixture::watching(&["a"]);
    fixture.batch([draining("a")]);
    fixture.fail(gap());
    assert!(names(&fixture.list(&[]).unwrap()).is_empty());
}

#[test]
fn a_draining_instance_is_shown_as_such() {
    let mut fixture = Fixture::watching(&["a"]);
    let event = fixture.batch([draining("a")]).unwrap();
    let status = event.instances().get(&key("a")).map(|i| i.status());
    assert_eq!(status, Some(Status::Draining));
}

#[test]
fn without_a_grace_period_nothing_is_held() {
    let mut fixture = Fixture::with_grace(Duration::ZERO).listed_and_open(&["a", "b"]);
    fixture.fail(disrupted());
    let event = fixture.batch([delete("a")]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["b"], vec![]));
    fixture.fail(gap());
    assert!(names(&fixture.list(&[]).unwrap()).is_empty());
}

#[test]
fn an_endless_grace_period_never_ends() {
    let mut fixture = Fixture::with_grace(Duration::MAX).listed_and_open(&["a"]);
    fixture.fail(disrupted());
    fixture.batch([delete("a")]);
    assert_eq!(fixture.mirror.deadline(), None);
    assert!(fixture.wait(GRACE * 1000).is_none());
}
