//! The roster without a runtime.

use super::*;
use crate::support::Backoff;

fn roster(at_once: usize) -> Roster<u32> {
    let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
    Roster::new(at_once, Backoff::new(first, longest))
}

fn instances<const N: usize>(all: [(&str, &str); N]) -> Instances {
    all.into_iter()
        .map(|(name, address)| Instance::new(Key::new(name).unwrap(), address))
        .collect()
}

fn refused() -> FactoryError {
    FactoryError::Panicked("refused".into())
}

fn targets(roster: &mut Roster<u32>) -> Vec<u32> {
    let table = roster.table();
    table
        .iter()
        .map(|endpoint| *endpoint.target().clone())
        .collect()
}

#[test]
fn what_an_abandoned_run_made_is_thrown_away() {
    let (mut roster, now) = (roster(4), Instant::now());
    roster.apply(&instances([("a", "h:1")]), now);
    let first = roster.next_job(now).unwrap();
    let abandoned = roster.apply(&instances([("a", "h:2")]), now);
    assert_eq!(abandoned, [first.ticket]);
    let second = roster.next_job(now).unwrap();
    assert_eq!(second.instance.address(), "h:2");
    roster.finished(second.ticket, Ok(2), now);
    roster.finished(first.ticket, Ok(1), now);
    assert_eq!(targets(&mut roster), [2]);
    assert_eq!(roster.making(), 0);
}

#[test]
fn an_address_that_changes_back_keeps_its_endpoint() {
    let (mut roster, now) = (roster(4), Instant::now());
    roster.apply(&instances([("a", "h:1")]), now);
    let job = roster.next_job(now).unwrap();
    roster.finished(job.ticket, Ok(1), now);
    roster.apply(&instances([("a", "h:2")]), now);
    let job = roster.next_job(now).unwrap();
    roster.finished(job.ticket, Err(refused()), now);
    assert_eq!(roster.failures().len(), 1);
    roster.apply(&instances([("a", "h:1")]), now);
    assert_eq!(targets(&mut roster), [1]);
    assert!(roster.failures().is_empty());
    assert_eq!((roster.making(), roster.wake_at()), (0, None));
}

#[test]
fn an_attribute_that_changes_during_a_run_is_not_lost() {
    let (mut roster, now) = (roster(4), Instant::now());
    roster.apply(&instances([("a", "h:1")]), now);
    let job = roster.next_job(now).unwrap();
    let heavier = Instance::new(Key::new("a").unwrap(), "h:1").with_weight(9);
    assert!(
        roster
            .apply(&[heavier].into_iter().collect(), now)
            .is_empty()
    );
    roster.finished(job.ticket, Ok(1), now);
    assert_eq!(roster.table()[0].weight(), 9);
}

#[test]
fn a_failure_is_retried_after_its_pause_and_not_before() {
    let (mut roster, now) = (roster(4), Instant::now());
    roster.apply(&instances([("a", "h:1")]), now);
    let job = roster.next_job(now).unwrap();
    roster.finished(job.ticket, Err(refused()), now);
    assert!(roster.is_ready());
    let due = roster.wake_at().unwrap();
    let pause = due - now;
    assert!(pause >= Duration::from_millis(50) && pause <= Duration::from_millis(100));
    assert!(roster.next_job(due - Duration::from_micros(1)).is_none());
    assert!(roster.next_job(due).is_some());
}

#[test]
fn slow_runs_make_room_after_a_while() {
    let (mut roster, now) = (roster(2), Instant::now());
    roster.apply(&instances([("a", "h:1"), ("b", "h:2"), ("c", "h:3")]), now);
    assert!(roster.next_job(now).is_some());
    assert!(roster.next_job(now).is_some());
    assert!(roster.next_job(now).is_none());
    assert_eq!(roster.wake_at(), Some(now + PATIENCE));
    assert!(roster.next_job(now + PATIENCE).is_some());
}

#[test]
fn it_is_ready_once_the_first_instances_were_tried_or_went() {
    let (mut roster, now) = (roster(4), Instant::now());
    assert!(!roster.is_ready());
    roster.apply(&instances([("a", "h:1"), ("b", "h:2")]), now);
    let job = roster.next_job(now).unwrap();
    roster.finished(job.ticket, Ok(1), now);
    assert!(!roster.is_ready());
    // A later one is not waited for.
    roster.apply(&instances([("a", "h:1"), ("c", "h:3")]), now);
    assert!(roster.is_ready());
}

#[test]
fn nothing_remains_of_what_is_gone() {
    let (mut roster, now) = (roster(1), Instant::now());
    roster.apply(&instances([("a", "h:1"), ("b", "h:2"), ("c", "h:3")]), now);
    let failing = roster.next_job(now).unwrap();
    roster.finished(failing.ticket, Err(refused()), now);
    roster.next_job(now).unwrap();
    let abandoned = roster.apply(&Instances::default(), now);
    assert_eq!(abandoned.len(), 1);
    assert!(roster.seats.is_empty() && roster.queue.is_empty());
    assert!(roster.running.is_empty() && roster.counted.is_empty());
    assert!(roster.failures.is_empty());
    assert_eq!(roster.made, 0);
}
