//! The endpoint set without a runtime.

use super::*;
use crate::{
    calls::run_queue::COUNTED_FOR,
    registry::{Key, LeaseId},
    support::{Backoff, Log},
};
use futures::FutureExt;
use std::time::Duration;

fn set(limit: usize) -> EndpointSet<u32> {
    set_of(limit, false)
}

fn set_of(limit: usize, is_per_registration: bool) -> EndpointSet<u32> {
    let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
    let rules = FactoryRules {
        backoff: Backoff::new(first, longest),
        is_per_registration,
    };
    EndpointSet::new(limit, rules, Arc::default())
}

fn instances<const N: usize>(all: [(&str, &str); N]) -> Instances {
    all.into_iter()
        .map(|(name, address)| Instance::new(Key::new(name).unwrap(), address))
        .collect()
}

fn refused() -> FactoryError {
    FactoryError::Panicked("refused".into())
}

fn targets(set: &mut EndpointSet<u32>) -> Vec<u32> {
    let table = set.table();
    table.iter().map(|endpoint| *endpoint.target()).collect()
}

#[test]
fn what_an_abandoned_run_made_is_thrown_away() {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1")]), now);
    let first = set.start_run(now).unwrap();
    let abandoned = set.apply(&instances([("a", "h:2")]), now);
    assert_eq!(abandoned, [first.0]);
    let second = set.start_run(now).unwrap();
    assert_eq!(second.1.address(), "h:2");
    set.finish_run(second.0, Ok(2), now);
    set.finish_run(first.0, Ok(1), now);
    assert_eq!(targets(&mut set), [2]);
    assert_eq!(set.making(), 0);
}

#[test]
fn an_address_that_changes_back_keeps_its_endpoint() {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1")]), now);
    let run = set.start_run(now).unwrap();
    set.finish_run(run.0, Ok(1), now);
    set.apply(&instances([("a", "h:2")]), now);
    let run = set.start_run(now).unwrap();
    set.finish_run(run.0, Err(refused()), now);
    assert_eq!(set.failures().len(), 1);
    set.apply(&instances([("a", "h:1")]), now);
    assert_eq!(targets(&mut set), [1]);
    assert!(set.failures().is_empty());
    assert_eq!((set.making(), set.wake_at()), (0, None));
}

#[test]
fn an_attribute_that_changes_during_a_run_is_not_lost() {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1")]), now);
    let run = set.start_run(now).unwrap();
    let heavier = Instance::new(Key::new("a").unwrap(), "h:1").with_weight(9);
    assert!(set.apply(&[heavier].into_iter().collect(), now).is_empty());
    set.finish_run(run.0, Ok(1), now);
    assert_eq!(set.table()[0].weight(), 9);
}

#[test]
fn a_failure_is_retried_after_its_pause_and_not_before() {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1")]), now);
    let run = set.start_run(now).unwrap();
    set.finish_run(run.0, Err(refused()), now);
    assert!(set.is_ready());
    let due = set.wake_at().unwrap();
    let pause = due - now;
    assert!(pause >= Duration::from_millis(50) && pause <= Duration::from_millis(100));
    assert!(set.start_run(due - Duration::from_micros(1)).is_none());
    assert!(set.start_run(due).is_some());
}

#[test]
fn slow_runs_make_room_after_a_while() {
    let (mut set, now) = (set(2), Instant::now());
    set.apply(&instances([("a", "h:1"), ("b", "h:2"), ("c", "h:3")]), now);
    assert!(set.start_run(now).is_some());
    assert!(set.start_run(now).is_some());
    assert!(set.start_run(now).is_none());
    assert_eq!(set.wake_at(), Some(now + COUNTED_FOR));
    assert!(set.start_run(now + COUNTED_FOR).is_some());
}

#[test]
fn it_is_ready_once_the_first_instances_were_tried_or_went() {
    let (mut set, now) = (set(4), Instant::now());
    assert!(!set.is_ready());
    set.apply(&instances([("a", "h:1"), ("b", "h:2")]), now);
    let run = set.start_run(now).unwrap();
    set.finish_run(run.0, Ok(1), now);
    assert!(!set.is_ready());
    // A later one is not waited for.
    set.apply(&instances([("a", "h:1"), ("c", "h:3")]), now);
    assert!(set.is_ready());
}

/// Name, address and target of each endpoint in the table.
fn table(set: &mut EndpointSet<u32>) -> Vec<(String, String, u32)> {
    let table = set.table();
    let rows = table.iter().map(|one| {
        let (key, address) = (one.key().to_string(), one.address().to_owned());
        (key, address, *one.target())
    });
    rows.collect()
}

fn rows<const N: usize>(rows: [(&str, &str, u32); N]) -> Vec<(String, String, u32)> {
    rows.map(|(key, address, target)| (key.into(), address.into(), target))
        .into()
}

/// Makes numbers, from 1 up.
fn counting() -> impl FnMut(&Instance) -> Result<u32, FactoryError> {
    let mut made = 0;
    move |_| {
        made += 1;
        Ok(made)
    }
}

#[test]
fn one_address_is_one_endpoint_whoever_joins_or_leaves() {
    let (mut set, now) = (set(4), Instant::now());
    let mut make = counting();
    set.apply(&instances([("b", "h:1"), ("c", "h:1"), ("d", "h:2")]), now);
    run_all(&mut set, now, &mut make);
    let both = rows([("b", "h:1", 1), ("d", "h:2", 2)]);
    assert_eq!(table(&mut set), both);
    let before = set.table()[0].clone();
    for (names, speaker) in [(&["a", "b"][..], "a"), (&["b"], "b"), (&["c", "d"], "c")] {
        let instance = |name: &&str| Instance::new(Key::new(*name).unwrap(), "h:1");
        set.apply(&names.iter().map(instance).collect(), now);
        assert!(set.start_run(now).is_none(), "made again");
        let table = set.table();
        assert_eq!((table.len(), table[0].key().as_str()), (1, speaker));
        assert!(table[0].shares_target_with(&before));
        assert!(before.removed().now_or_never().is_none());
    }
    set.apply(&Instances::default(), now);
    assert!(before.removed().now_or_never().is_some());
}

#[test]
fn the_best_rank_speaks_for_an_address_and_then_the_least_key() {
    let (mut set, now) = (set(4), Instant::now());
    let [a, b, c] = ["a", "b", "c"].map(|name| Instance::new(Key::new(name).unwrap(), "h:1"));
    let draining = |instance: &Instance| instance.clone().with_status(Status::Draining);
    let unweighted = |instance: &Instance| instance.clone().with_weight(0);
    for (all, speaker) in [
        (vec![draining(&a), unweighted(&b), c.clone()], "c"),
        (vec![draining(&a), unweighted(&b), draining(&c)], "b"),
        (vec![draining(&a), draining(&b)], "a"),
        (vec![unweighted(&a), b.clone().with_weight(7), c], "b"),
    ] {
        set.apply(&all.into_iter().collect(), now);
        run_all(&mut set, now, |_| Ok(1));
        let table = set.table();
        assert_eq!((table.len(), table[0].key().as_str()), (1, speaker));
    }
    assert_eq!(set.table()[0].weight(), 7);
}

#[test]
fn instances_that_swap_their_addresses_swap_their_endpoints() {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1"), ("b", "h:2")]), now);
    run_all(&mut set, now, counting());
    set.apply(&instances([("a", "h:2"), ("b", "h:1")]), now);
    assert_eq!((set.making(), set.wake_at()), (0, None));
    let swapped = rows([("a", "h:2", 2), ("b", "h:1", 1)]);
    assert_eq!(table(&mut set), swapped);
}

#[test]
fn an_address_that_is_taken_over_is_the_same_place() {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1")]), now);
    run_all(&mut set, now, |_| Ok(1));
    let call = set.table()[0].clone();
    set.apply(&instances([("b", "h:1")]), now);
    assert_eq!(table(&mut set), rows([("b", "h:1", 1)]));
    assert_eq!(set.making(), 0);
    assert!(call.removed().now_or_never().is_none());
}

#[test]
fn an_old_endpoint_is_kept_for_each_instance_that_has_no_other() {
    let (mut set, now) = (set(4), Instant::now());
    let mut make = counting();
    set.apply(&instances([("a", "h:1"), ("b", "h:1")]), now);
    run_all(&mut set, now, &mut make);
    set.apply(&instances([("a", "h:2"), ("b", "h:3")]), now);
    assert_eq!(table(&mut set), rows([("a", "h:1", 1)]));
    let run = set.start_run(now).unwrap();
    set.finish_run(run.0, make(&run.1), now);
    let one = rows([("a", "h:2", 2), ("b", "h:1", 1)]);
    assert_eq!(table(&mut set), one);
    run_all(&mut set, now, &mut make);
    let none = rows([("a", "h:2", 2), ("b", "h:3", 3)]);
    assert_eq!(table(&mut set), none);
    assert!(set.kept_at.is_empty());
    assert_eq!(set.slots.len(), 2);
}

/// Asks for another target of the only endpoint, `times` times, and says when its factory runs.
fn replaced(set: &mut EndpointSet<u32>, times: usize, now: Instant) -> Option<Duration> {
    let endpoint = set.table()[0].clone();
    for _ in 0..times {
        endpoint.replace_target();
        set.replace_targets(now);
    }
    set.wake_at().map(|at| at - now)
}

#[test]
fn a_dead_target_is_replaced_at_the_same_address_once() {
    let (mut set, now) = (set(4), Instant::now());
    let mut make = counting();
    set.apply(&instances([("a", "h:1")]), now);
    run_all(&mut set, now, &mut make);
    let dead = set.table()[0].clone();
    assert_eq!(replaced(&mut set, 3, now), Some(Duration::ZERO));
    let run = set.start_run(now).unwrap();
    assert!(set.start_run(now).is_none(), "twice");
    assert_eq!(replaced(&mut set, 1, now), None);
    assert_eq!(
        table(&mut set),
        rows([("a", "h:1", 1)]),
        "the old one stays"
    );
    set.finish_run(run.0, Err(refused()), now);
    assert_eq!(
        table(&mut set),
        rows([("a", "h:1", 1)]),
        "the old one stays"
    );
    let later = now + Duration::from_secs(1);
    run_all(&mut set, later, &mut make);
    assert_eq!(table(&mut set), rows([("a", "h:1", 2)]));
    assert!(!set.table()[0].shares_target_with(&dead));
    assert!(set.failures().is_empty());
    dead.replace_target();
    set.replace_targets(later);
    assert_eq!(set.making(), 0, "it has been replaced");
}

#[test]
fn a_request_is_sent_once() {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1")]), now);
    run_all(&mut set, now, |_| Ok(1));
    let endpoint = set.table()[0].clone();
    for _ in 0..3 {
        endpoint.replace_target();
    }
    assert_eq!(set.replacements.take().len(), 1);
}

/// Instances at one address, each with its lease.
fn leased<const N: usize>(all: [(&str, Option<i64>); N]) -> Instances {
    let leased = |(name, lease): (_, Option<_>)| {
        Instance::new(Key::new(name).unwrap(), "h:1").with_lease(lease.map(LeaseId::from))
    };
    all.into_iter().map(leased).collect()
}

#[test]
fn a_target_of_one_registration_is_replaced_when_somebody_registers_again() {
    let (mut set, now) = (set_of(4, true), Instant::now());
    let mut make = counting();
    let mut made_for = |all: Instances, set: &mut EndpointSet<u32>, now| {
        set.apply(&all, now);
        run_all(set, now, &mut make);
        targets(set)
    };
    assert_eq!(made_for(leased([("a", Some(1))]), &mut set, now), [1]);
    for (secs, all, target) in [
        // Another process under the same key, and under another one.
        (2, leased([("a", Some(2))]), 2),
        (4, leased([("a", Some(2)), ("b", Some(3))]), 3),
        // Somebody has gone, or says nothing of a lease.
        (6, leased([("b", Some(3))]), 3),
        (8, leased([("b", Some(3)), ("c", None)]), 3),
        (10, leased([("c", None)]), 3),
        // One that is back is another registration all the same.
        (12, leased([("a", Some(4)), ("c", None)]), 4),
    ] {
        let now = now + Duration::from_secs(secs);
        assert_eq!(made_for(all, &mut set, now), [target], "after {secs} s");
    }
}

#[test]
fn who_registers_while_the_target_is_made_gets_another() {
    let (mut set, now) = (set_of(4, true), Instant::now());
    set.apply(&leased([("a", Some(1))]), now);
    let run = set.start_run(now).unwrap();
    set.apply(&leased([("a", Some(2))]), now);
    assert!(set.start_run(now).is_none());
    set.finish_run(run.0, Ok(1), now);
    assert_eq!(targets(&mut set), [1]);
    run_all(&mut set, now, |_| Ok(2));
    assert_eq!(targets(&mut set), [2]);
    assert_eq!(set.making(), 0);
}

#[test]
fn a_target_that_reaches_whoever_is_there_stays_when_somebody_registers_again() {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&leased([("a", Some(1))]), now);
    run_all(&mut set, now, |_| Ok(1));
    set.apply(&leased([("a", Some(2))]), now);
    assert_eq!((set.making(), targets(&mut set)), (0, vec![1]));
    assert_eq!(set.table()[0].instance().lease(), Some(&LeaseId::from(2)));
}

#[test]
fn targets_that_are_replaced_again_and_again_make_no_hot_loop() {
    let (mut set, mut now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1")]), now);
    run_all(&mut set, now, |_| Ok(1));
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let pause = replaced(&mut set, 1, now).unwrap();
        pauses.push(pause);
        now += pause;
        run_all(&mut set, now, |_| Ok(1));
    }
    assert_eq!(pauses[0], Duration::ZERO);
    assert!(pauses[1] >= Duration::from_millis(50), "{pauses:?}");
    assert!(pauses[9] >= Duration::from_millis(500), "{pauses:?}");
    // One that has lasted is replaced at once.
    now += Duration::from_secs(1);
    assert_eq!(replaced(&mut set, 1, now), Some(Duration::ZERO));
}

#[test]
fn a_dead_target_is_not_replaced_where_nobody_is_but_when_somebody_returns() {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1")]), now);
    run_all(&mut set, now, |_| Ok(1));
    set.apply(&instances([("a", "h:2")]), now);
    let run = set.start_run(now).unwrap();
    assert_eq!(replaced(&mut set, 1, now), None);
    let abandoned = set.apply(&instances([("a", "h:1")]), now);
    assert_eq!(abandoned, [run.0]);
    assert_eq!(set.start_run(now).unwrap().1.address(), "h:1");
}

#[test]
fn nothing_remains_of_what_is_gone() {
    let (mut set, now) = (set(1), Instant::now());
    set.apply(&instances([("a", "h:1"), ("b", "h:2"), ("c", "h:3")]), now);
    let failing = set.start_run(now).unwrap();
    set.finish_run(failing.0, Err(refused()), now);
    set.start_run(now).unwrap();
    let abandoned = set.apply(&Instances::default(), now);
    assert_eq!(abandoned.len(), 1);
    assert!(set.slots.is_empty() && set.queue.is_empty());
    assert!(set.failures.is_empty() && set.endpoints.is_empty());
}

/// The endpoint of "a", of an instance that was then removed, as it was last.
fn removed(last: Instance) -> Arc<Endpoint<u32>> {
    let (mut set, now) = (set(4), Instant::now());
    set.apply(&instances([("a", "h:1")]), now);
    run_all(&mut set, now, |_| Ok(1));
    let endpoint = set.table()[0].clone();
    assert!(endpoint.removed().now_or_never().is_none());
    set.apply(&[last].into_iter().collect(), now);
    assert!(endpoint.removed().now_or_never().is_none());
    set.apply(&Instances::default(), now);
    endpoint
}

#[test]
fn an_instance_that_is_removed_unannounced_is_certainly_gone() {
    let last = |address| Instance::new(Key::new("a").unwrap(), address);
    let is_gone = |last| removed(last).removed().now_or_never().is_some();
    assert!(is_gone(last("h:1").with_weight(7)));
    assert!(!is_gone(last("h:1").with_status(Status::Draining)));
    assert!(!is_gone(last("h:2")), "known of the other address only");
}

/// Runs all factories that are due by `now`.
fn run_all(
    set: &mut EndpointSet<u32>,
    now: Instant,
    mut make: impl FnMut(&Instance) -> Result<u32, FactoryError>,
) {
    while let Some((id, instance)) = set.start_run(now) {
        set.finish_run(id, make(&instance), now);
    }
}

fn many(count: usize) -> Instances {
    let instance = |n| Instance::new(Key::new(format!("{n:04}")).unwrap(), format!("h:{n:04}"));
    (0..count).map(instance).collect()
}

#[test]
fn a_thousand_failing_factories_are_a_handful_of_lines() {
    let (log, start) = (Log::capture(), Instant::now());
    let mut set = set(usize::MAX);
    set.apply(&many(1_000), start);
    for millis in (0..60_000).step_by(100) {
        run_all(&mut set, start + Duration::from_millis(millis), |_| {
            Err(refused())
        });
    }
    let text = "WARN endpoints cannot be made, trying on";
    let error = "address=h:0000 error=the factory panicked: refused";
    let first = format!("{text} key=0000 {error} failing=1");
    let all = log.text();
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0], first);
    assert!(all[1].ends_with("failing=1000"), "{all:?}");
    assert_eq!(set.failures().len(), 1_000, "each of them is seen");

    let later = start + Duration::from_secs(61);
    run_all(&mut set, later, |_| Ok(1));
    let recovered = "INFO all endpoints made endpoints=1000 after=61s";
    assert_eq!(log.text()[2..], [recovered]);
    run_all(&mut set, later, |_| Ok(1));
    set.apply(&many(999), later);
    assert_eq!(log.text().len(), 3, "said once");
}

#[test]
fn another_kind_of_failure_is_said_at_once() {
    let (log, now) = (Log::capture(), Instant::now());
    let mut set = set(usize::MAX);
    set.apply(&many(10), now);
    run_all(&mut set, now, |instance| {
        Err(match instance.key().as_str() {
            "0007" | "0008" => FactoryError::TimedOut(Duration::from_secs(5)),
            _ => refused(),
        })
    });
    let all = log.text();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(
        all[1].contains("key=0007") && all[1].contains("within 5s"),
        "{all:?}"
    );
}

/// Hostile row 9: endpoints that fail and are made in turns are three lines a minute.
#[test]
fn endpoints_that_fail_and_are_made_in_turns_are_three_lines_a_minute() {
    let (log, start) = (Log::capture(), Instant::now());
    let mut set = set(usize::MAX);
    for n in 0..600_u64 {
        let now = start + Duration::from_millis(100 * n);
        let address = format!("h:{n}");
        set.apply(&instances([(&*format!("k{n}"), &address)]), now);
        run_all(&mut set, now, |_| match n % 3 {
            0 => Err(refused()),
            1 => Err(FactoryError::TimedOut(Duration::from_secs(5))),
            _ => Ok(1),
        });
    }
    let all = log.text();
    assert!((2..=3).contains(&all.len()), "{all:?}");
}

#[test]
fn a_factory_that_fails_now_and_then_does_not_fill_the_log() {
    let (log, start) = (Log::capture(), Instant::now());
    let mut set = set(usize::MAX);
    for n in 0..3_600_u64 {
        // Another address each time.
        let now = start + Duration::from_secs(n);
        let address = format!("h:{n}");
        set.apply(&instances([("a", &address)]), now);
        run_all(&mut set, now, |_| {
            if n % 2 == 0 { Err(refused()) } else { Ok(1) }
        });
    }
    let all = log.text();
    assert!((4..=40).contains(&all.len()), "{}: {all:?}", all.len());
}

/// Hostile row 9: a key that changes all the time costs few runs, and no other waits for it.
#[test]
fn an_address_that_changes_all_the_time_is_made_now_and_then() {
    for removes in [false, true] {
        let (mut set, begun) = (set(4), Instant::now());
        let mut runs = 0;
        let mut now = begun;
        for n in 1..36_000 {
            now += Duration::from_millis(10);
            if removes {
                set.apply(&instances([]), now);
            }
            let address = format!("h:{n}");
            for id in set.apply(&instances([("evil", &address)]), now) {
                set.finish_run(id, Err(refused()), now);
            }
            while let Some((id, _)) = set.start_run(now) {
                runs += 1;
                set.finish_run(id, Ok(n), now);
            }
        }
        assert!((10..=8 + 5 + 360 / 15).contains(&runs), "{runs}");
        // An honest instance does not wait, also where the other names its address.
        set.apply(&instances([("evil", "h:1")]), now);
        assert!(set.start_run(now).is_none());
        set.apply(&instances([("evil", "h:1"), ("good", "h:1")]), now);
        let (_, instance) = set.start_run(now).unwrap();
        assert_eq!(instance.address(), "h:1");
    }
}

/// Hostile row 9: however many keys name an address, it has one share.
#[test]
fn many_keys_of_one_address_have_one_endpoint() {
    let (mut set, now) = (set(4), Instant::now());
    let evil = (0..99).map(|n| Instance::new(Key::new(format!("evil{n}")).unwrap(), "h:6"));
    let good = Instance::new(Key::new("good").unwrap(), "h:1");
    set.apply(&evil.chain([good]).collect(), now);
    while let Some((id, _)) = set.start_run(now) {
        set.finish_run(id, Ok(1), now);
    }
    assert_eq!(set.table().len(), 2);
}

/// Hostile row 9: what is remembered of keys that come and go is bounded.
#[test]
fn not_every_key_that_was_there_is_remembered() {
    let now = Instant::now();
    let mut pace = AddressPace::new();
    for n in 0..100_000 {
        pace.ran(&n.to_string(), now);
    }
    assert_eq!(pace.len(), 65_536);
    pace.ran("later", now + Duration::from_secs(15));
    assert_eq!(pace.len(), 1);
}

#[test]
fn the_first_endpoints_are_a_whole_table_and_nothing_else_and_a_later_one_is_a_row() {
    let (mut set, now) = (set(4), Instant::now());
    let make = |set: &mut EndpointSet<u32>| {
        let run = set.start_run(now).unwrap();
        set.finish_run(run.0, Ok(1), now);
        set.table_update()
    };
    set.apply(&instances([("a", "h:1"), ("b", "h:2")]), now);
    for endpoints in 1..3 {
        assert!(matches!(make(&mut set), TableUpdate::All(all) if all.len() == endpoints));
    }
    assert_eq!(set.pace.len(), 0, "no key has had another address");
    set.apply(&instances([("a", "h:1"), ("b", "h:2"), ("c", "h:3")]), now);
    assert!(matches!(make(&mut set), TableUpdate::Rows(rows) if rows.len() == 1));
    assert_eq!(set.pace.len(), 1);
}
