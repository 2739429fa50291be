//! The endpoint set without a runtime.

use super::*;
use crate::{calls::endpointer::factory_queue::COUNTED_FOR, support::Backoff};
use std::time::Duration;

fn set(limit: usize) -> EndpointSet<u32> {
    let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
    EndpointSet::new(limit, Backoff::new(first, longest))
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
    assert!(set.failures.is_empty());
    assert_eq!(set.made, 0);
}
