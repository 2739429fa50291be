//! Removals after trouble.

use super::*;
use crate::registry::Ttl;

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
    let why: Vec<_> = event
        .held()
        .map(|(_, held)| ErrorChain(&held.why).to_string())
        .collect();
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

// === Many at once ===

fn five() -> Fixture {
    Fixture::watching(&["a", "b", "c", "d", "e"])
}

/// Row 31: all leases lost at once on a healthy watch.
#[test]
fn many_removals_at_once_are_held_on_a_healthy_watch_and_return_without_a_gap() {
    let log = Log::capture();
    let mut fixture = five();
    let event = fixture.batch(["a", "b", "c", "d"].map(delete)).unwrap();
    assert_eq!(names(&event), ["a", "b", "c", "d", "e"]);
    assert_eq!(held(&event), ["a", "b", "c", "d"]);
    assert!(event.health().is_live(), "the source is not in trouble");
    for (_, held) in event.held() {
        assert_eq!(
            held.why.to_string(),
            "4 of 5 instances were removed at once"
        );
    }
    let said = "WARN many instances removed at once, held back: they go after the grace period \
                unless they return prefix=/svc/ removed=4 of=5 held=4 grace=15s";
    assert!(
        log.text().iter().any(|line| line == said),
        "{:?}",
        log.text()
    );

    fixture.wait(GRACE / 3);
    let event = fixture.batch(["a", "b", "c", "d"].map(put)).unwrap();
    assert_eq!((names(&event).len(), held(&event).len()), (5, 0));
    assert_eq!(fixture.mirror.deadline(), None);
    assert!(fixture.wait(GRACE * 2).is_none());
}

#[test]
fn a_fleet_that_was_scaled_down_is_believed_after_the_grace_period() {
    let mut fixture = five();
    fixture.batch(["a", "b", "c"].map(delete));
    fixture.wait(Duration::from_secs(5));
    let event = fixture.batch([delete("d")]).unwrap();
    assert_eq!(
        held(&event),
        ["a", "b", "c", "d"],
        "the fourth within the window"
    );
    assert!(fixture.wait(GRACE - Duration::from_millis(5_001)).is_none());
    let event = fixture.wait(Duration::from_millis(1)).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["d", "e"], vec!["d"]));
    assert!(fixture.wait(Duration::from_millis(4_999)).is_none());
    let event = fixture.wait(Duration::from_millis(1)).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["e"], vec![]));
    fixture.wait(GRACE);
    let event = fixture.batch([delete("e")]).unwrap();
    assert!(names(&event).is_empty(), "one of one is believed");
}

#[test]
fn removals_one_after_another_add_up_within_a_grace_period() {
    let mut fixture = five();
    let step = GRACE / 6;
    let mut last = None;
    for name in ["a", "b", "c", "d", "e"] {
        last = fixture.batch([delete(name)]);
        fixture.wait(step);
    }
    let event = last.unwrap();
    assert_eq!(
        (names(&event), held(&event)),
        (vec!["c", "d", "e"], vec!["c", "d", "e"])
    );

    let mut fixture = five();
    for name in ["a", "b", "c", "d"] {
        let event = fixture.batch([delete(name)]).unwrap();
        assert!(
            held(&event).is_empty(),
            "{name}: as slow as that is believed"
        );
        fixture.wait(GRACE);
    }
}

#[test]
fn a_list_that_is_suddenly_empty_is_doubted() {
    let mut fixture = five();
    fixture.fail(gap());
    fixture.list(&[]);
    let event = fixture.open().unwrap();
    assert_eq!((names(&event).len(), held(&event).len()), (5, 5));
    let event = fixture.batch(["a", "b", "c", "d", "e"].map(put)).unwrap();
    assert!(held(&event).is_empty());
}

/// Addresses alone cannot announce that they drain, so each restart deletes its key and puts it again.
#[test]
fn a_rolling_restart_is_not_many_at_once() {
    let mut fixture = Fixture::watching(&["a", "b", "c"]);
    for _ in 0..10 {
        for name in ["a", "b", "c"] {
            let event = fixture.batch([delete(name)]).unwrap();
            assert!(held(&event).is_empty(), "{name}");
            fixture.wait(Duration::from_secs(1));
            fixture.batch([put(name)]);
        }
    }
    // With new keys, the new one first or last.
    let mut fixture = Fixture::watching(&["a", "b", "c"]);
    for (old, new) in [("a", "d"), ("b", "e"), ("c", "f"), ("d", "g")] {
        fixture.batch([put(new)]);
        let event = fixture.batch([delete(old)]).unwrap();
        assert!(held(&event).is_empty(), "{old}");
    }
    for (old, new) in [("e", "h"), ("f", "i"), ("g", "j"), ("h", "k")] {
        let event = fixture.batch([delete(old)]).unwrap();
        assert!(held(&event).is_empty(), "{old}");
        fixture.batch([put(new)]);
    }
}

#[test]
fn a_restart_of_two_in_three_is_held_until_they_are_back_and_no_longer() {
    let mut fixture = Fixture::watching(&["a", "b", "c"]);
    let event = fixture.batch(["a", "b"].map(delete)).unwrap();
    assert_eq!(held(&event), ["a", "b"]);
    let event = fixture.batch([put("a")]).unwrap();
    assert_eq!(held(&event), ["b"]);
    let event = fixture.batch([put("b")]).unwrap();
    assert!(held(&event).is_empty());
    let event = fixture.batch([delete("c")]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["a", "b"], vec![]));
}

#[test]
fn an_announced_removal_is_not_counted_either() {
    let mut fixture = Fixture::watching(&["a", "b", "c", "d", "e", "f"]);
    fixture.batch(["a", "b", "c", "d"].map(draining));
    let event = fixture.batch(["a", "b", "c", "d"].map(delete)).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["e", "f"], vec![]));
    let event = fixture.batch([delete("e")]).unwrap();
    assert_eq!((names(&event), held(&event)), (vec!["f"], vec![]));
}

/// Two of four vanish, and a third announces that it goes. That the fourth restarts in between, which it
/// announces, makes up for none of them.
#[test]
fn what_announced_a_restart_makes_up_for_no_other_however_it_is_told() {
    for is_at_once in [true, false] {
        let mut fixture = Fixture::watching(&["a", "b", "c", "d"]);
        fixture.batch([delete("a"), draining("d")]);
        let restart = [draining("b"), delete("b"), put("b")];
        if is_at_once {
            fixture.batch(restart);
        } else {
            for change in restart {
                fixture.batch([change]);
            }
        }
        fixture.batch([delete("d")]);
        let event = fixture.batch([delete("c")]).unwrap();
        assert_eq!((names(&event), held(&event)), (vec!["b", "c"], vec!["c"]));
        let why = event.held().map(|(_, held)| held.why.to_string());
        let why: Vec<_> = why.collect();
        assert_eq!(why, ["2 of 3 instances were removed at once"]);
    }
}

#[test]
fn the_share_can_be_set_and_grace_zero_turns_it_off() {
    let gone = |grace, mass_percent| {
        let rules = RemovalRules {
            grace,
            mass_percent,
            ..RemovalRules::default()
        };
        let mut fixture = Fixture::by(rules, PAUSE).listed_and_open(&["a", "b", "c", "d"]);
        let event = fixture.batch(["a", "b"].map(delete)).unwrap();
        let some = names(&event).len() == 2;
        let event = fixture.batch([delete("c"), delete("d")]).unwrap();
        (some, names(&event).is_empty())
    };
    assert_eq!(gone(GRACE, 50), (true, false));
    assert_eq!(gone(GRACE, 49), (false, false));
    assert_eq!(gone(GRACE, 100), (true, true));
    assert_eq!(gone(Duration::ZERO, 0), (true, true));
}

#[test]
fn trouble_keeps_many_held_until_it_has_been_over_for_the_grace_period() {
    let mut fixture = five();
    fixture.batch(["a", "b", "c"].map(delete));
    fixture.wait(GRACE - Duration::from_secs(1));
    fixture.fail(interrupted());
    assert!(fixture.wait(GRACE * 10).is_none());
    fixture.open();
    assert!(fixture.wait(GRACE - Duration::from_millis(1)).is_none());
    let event = fixture.wait(Duration::from_millis(1)).unwrap();
    assert_eq!(names(&event), ["d", "e"]);
}

#[test]
fn many_that_go_late_in_the_grace_period_get_one_of_their_own() {
    let mut fixture = five();
    fixture.fail(interrupted());
    fixture.open();
    fixture.wait(GRACE - Duration::from_secs(1));
    fixture.batch(["a", "b", "c", "d", "e"].map(delete));
    assert!(fixture.wait(GRACE - Duration::from_millis(1)).is_none());
    assert!(names(&fixture.wait(Duration::from_millis(1)).unwrap()).is_empty());
}

// === Trouble that recurs ===

fn silent(after: Duration) -> WatchError {
    WatchError::Disrupted(Error::timeout("watch", after))
}

/// Row 41: etcd stalls for 1.3 s every 6 s, for ever.
#[test]
fn silences_too_short_to_cost_a_lease_start_no_grace_period() {
    let mut fixture = Fixture::watching(&["a", "b"]);
    for round in 0..20 {
        fixture.wait(Duration::from_millis(4_700));
        let event = fixture.fail(silent(Duration::from_secs(1))).unwrap();
        assert!(!event.health().is_live(), "it is said all the same");
        fixture.wait(Duration::from_millis(300));
        if round == 3 {
            let event = fixture.batch([delete("a")]).unwrap();
            assert_eq!((names(&event), held(&event)), (vec!["b"], vec![]));
        } else {
            assert!(fixture.answer().unwrap().health().is_live());
        }
    }
    // One that begins after trouble leaves the grace period as it is.
    let mut fixture = Fixture::watching(&["a", "b"]);
    fixture.fail(interrupted());
    fixture.open();
    fixture.batch([delete("a")]);
    fixture.wait(GRACE / 2);
    fixture.fail(silent(Duration::from_secs(1)));
    fixture.answer();
    assert!(fixture.wait(GRACE / 2 - Duration::from_millis(1)).is_none());
    assert_eq!(
        names(&fixture.wait(Duration::from_millis(1)).unwrap()),
        ["b"]
    );
}

#[test]
fn what_is_too_short_depends_on_the_shortest_ttl() {
    for (secs, is_held) in [(2, true), (5, true), (6, false), (60, false)] {
        let rules = RemovalRules {
            shortest_ttl: Ttl::from_secs(secs).unwrap(),
            ..RemovalRules::default()
        };
        let mut fixture = Fixture::by(rules, PAUSE).listed_and_open(&["a", "b"]);
        fixture.fail(silent(Duration::from_secs(3)));
        fixture.wait(Duration::from_millis(900));
        let event = fixture.batch([delete("a")]).unwrap();
        assert_eq!(!held(&event).is_empty(), is_held, "a TTL of {secs} s");
    }
}

#[test]
fn a_silence_that_may_have_cost_a_lease_starts_one() {
    // By what it was when it was reported, by what it was until the answer, and together with more
    // than silence.
    type Way = fn(&mut Fixture);
    let ways: [Way; 3] = [
        |fixture| _ = fixture.fail(silent(Duration::from_secs(2))),
        |fixture| {
            fixture.fail(silent(Duration::from_secs(1)));
            fixture.wait(Duration::from_millis(334));
        },
        |fixture| {
            fixture.fail(silent(Duration::from_secs(1)));
            fixture.fail(interrupted());
            fixture.open();
        },
    ];
    for way in ways {
        let mut fixture = Fixture::watching(&["a", "b"]);
        way(&mut fixture);
        assert_eq!(held(&fixture.batch([delete("a")]).unwrap()), ["a"]);
    }
}

/// Row 41: a removal is held for three grace periods at most where the registry answers for two
/// thirds of the time.
#[test]
fn a_removal_applies_in_the_end_however_often_trouble_recurs() {
    for (silence, pause) in [(1_300, 4_700), (3_000, 6_000), (100, 900)] {
        let mut fixture = Fixture::watching(&["a", "b"]);
        fixture.fail(interrupted());
        fixture.open();
        fixture.batch([delete("a")]);
        let reported = fixture.now;
        let mut gone = None;
        while gone.is_none() && fixture.now < reported + 4 * GRACE {
            let waited = fixture.wait(Duration::from_millis(pause));
            gone = waited
                .filter(|event| names(event) == ["b"])
                .map(|_| fixture.now);
            fixture.fail(interrupted());
            let waited = fixture.wait(Duration::from_millis(silence));
            assert!(
                waited.is_none(),
                "nothing goes while the registry is silent"
            );
            fixture.open();
        }
        let held_for = gone.expect("held for ever") - reported;
        assert!(
            held_for >= 2 * GRACE && held_for <= 3 * GRACE,
            "{held_for:?}"
        );
    }
}

// === Answers that never come ===

/// Row 32: a registry that answers lists but never the watch.
#[test]
fn what_nobody_answered_is_not_live_and_removes_nothing() {
    let mut fixture = Fixture::with_grace(GRACE);
    let event = fixture.list(&["a", "b"]).unwrap();
    assert_eq!(
        why(event.health()),
        "the registry has not answered about the watch yet"
    );
    let since = fixture.now;
    fixture.mirror.opened(());
    assert!(fixture.wait(Duration::from_secs(60)).is_none());
    assert!(fixture.mirror.trouble().is_none(), "nothing has failed");
    let event = fixture.fail(disrupted()).unwrap();
    assert!(why(event.health()).contains("silence"));
    let Health::Stale { since: stale, .. } = event.health() else {
        unreachable!()
    };
    assert_eq!(*stale, since);
    // Opened again and again, and never answered.
    for _ in 0..10 {
        fixture.fail(interrupted());
        fixture.mirror.opened(());
        assert!(fixture.wait(GRACE * 2).is_none());
        assert_eq!(fixture.mirror.deadline(), None);
    }
    let event = fixture.batch([delete("a"), delete("b")]).unwrap();
    assert!(event.health().is_live());
    assert_eq!(held(&event), ["a", "b"]);
}

#[test]
fn removals_in_an_answer_that_came_late_are_doubted() {
    for (late, is_held) in [(0, false), (1_300, false), (1_400, true), (60_000, true)] {
        let mut fixture = Fixture::with_grace(GRACE);
        fixture.list(&["a", "b"]);
        fixture.mirror.opened(());
        fixture.wait(Duration::from_millis(late));
        let event = fixture.batch([delete("a"), delete("b")]).unwrap();
        assert_eq!(!held(&event).is_empty(), is_held, "{late} ms");
    }
}

/// Hostile row 5: after trouble, only what stood before it is held.
#[test]
fn what_came_after_the_trouble_and_went_is_no_phantom() {
    let mut fixture = Fixture::watching(&["a", "b", "c"]);
    fixture.wait(GRACE);
    fixture.fail(interrupted());
    fixture.open();
    for n in 0..1_000 {
        let name = format!("evil{n}");
        fixture.batch([put(&name)]);
        let event = fixture.batch([delete(&name)]).unwrap();
        assert_eq!((names(&event).len(), held(&event).len()), (3, 0));
    }
    let event = fixture.batch([delete("a")]).unwrap();
    assert_eq!(held(&event), ["a"]);
    // Until the next trouble: what has come by then stands.
    fixture.batch([put("d")]);
    fixture.fail(interrupted());
    fixture.open();
    let event = fixture.batch([delete("d")]).unwrap();
    assert_eq!(held(&event), ["a", "d"]);
}

/// Hostile row 5: on a healthy watch no more are held than there were at once.
#[test]
fn waves_of_keys_that_go_at_once_do_not_add_up() {
    let mut fixture = Fixture::watching(&["a", "b", "c"]);
    fixture.wait(GRACE);
    let mut shown = 0;
    for wave in 0..20 {
        let evil: Vec<_> = (0..10).map(|n| format!("evil{wave}-{n}")).collect();
        fixture.batch(evil.iter().map(|name| put(name)));
        let event = fixture.batch(evil.iter().map(|name| delete(name))).unwrap();
        shown = names(&event).len();
        assert!(names(&event).starts_with(&["a", "b", "c"]));
        assert!(held(&event).len() <= 13, "{event}");
    }
    assert!(shown <= 16, "{shown}");
}
