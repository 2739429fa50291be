use super::*;
use crate::{
    consumer::fixed::FixedInstancer,
    instances::{
        Health, Held, Instance, Instances,
        testing::{in_time, is_stopped, quiet, until},
    },
    registry::{Error, Key},
};
use std::{sync::Arc, time::Duration};
use tokio::time;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn instance(name: &str, address: &str) -> Instance {
    Instance::new(key(name), address)
}

/// Two sources that know nothing yet.
fn unknown() -> [Arc<FixedInstancer>; 2] {
    [(); 2].map(|()| Arc::new(FixedInstancer::unknown()))
}

fn outage(why: &str) -> Trouble {
    Trouble::List(Error::unavailable(why))
}

/// `key=address` of all that is shown.
fn shown(event: &Event) -> Vec<String> {
    let shown = event.instances().iter();
    shown
        .map(|i| format!("{}={}", i.key(), i.address()))
        .collect()
}

async fn until_shown(events: &mut Events, expected: &[&str]) -> Event {
    until(events, |event| shown(event) == expected).await
}

#[tokio::test(start_paused = true)]
async fn the_union_is_known_once_all_sources_are() {
    let [one, two] = unknown();
    let both = MergedInstancer::new([one.clone(), two.clone()]);
    let mut events = both.subscribe();
    one.set([instance("a", "h:1")]);
    quiet().await;
    assert!(both.state().is_none());
    two.set([]);
    let event = until_shown(&mut events, &["a=h:1"]).await;
    assert!(event.health().is_live());
}

#[tokio::test(start_paused = true)]
async fn a_partial_union_begins_with_one_and_says_so() {
    let [one, two] = unknown();
    let both = MergedInstancer::partial([one.clone(), two.clone()]);
    let mut events = both.subscribe();
    quiet().await;
    assert!(both.state().is_none());
    two.set([instance("a", "h:1")]);
    let event = until_shown(&mut events, &["a=h:1"]).await;
    assert!(!event.health().is_live());
    one.set([]);
    until(&mut events, |event| event.health().is_live()).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_source_wins_and_the_second_steps_in() {
    let [one, two] = unknown();
    one.set([instance("a", "one:1")]);
    two.set([instance("a", "two:1"), instance("b", "two:1")]);
    let both = MergedInstancer::new([one.clone(), two.clone()]);
    let mut events = both.subscribe();
    until_shown(&mut events, &["a=one:1", "b=two:1"]).await;
    one.remove(&key("a"));
    until_shown(&mut events, &["a=two:1", "b=two:1"]).await;
    one.insert(instance("b", "one:2"));
    until_shown(&mut events, &["a=two:1", "b=one:2"]).await;
    two.set([]);
    until_shown(&mut events, &["b=one:2"]).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_stale_while_any_source_is() {
    let [one, two] = unknown();
    one.set([instance("a", "h:1")]);
    two.set([instance("b", "h:1")]);
    let both = MergedInstancer::new([one.clone(), two.clone()]);
    let mut events = both.subscribe();
    two.go_stale(outage("second"));
    time::advance(Duration::from_secs(1)).await;
    one.go_stale(outage("first"));
    until(&mut events, |event| !event.health().is_live()).await;
    quiet().await;
    let event = both.state().unwrap();
    assert!(
        format!("{:?}", event.health()).contains("second"),
        "the earliest"
    );
    assert_eq!(shown(&event), ["a=h:1", "b=h:1"]);
    two.set_health(Health::Live);
    until(&mut events, |e| {
        format!("{:?}", e.health()).contains("first")
    })
    .await;
    one.set_health(Health::Live);
    until(&mut events, |event| event.health().is_live()).await;
}

#[test]
fn what_one_registry_holds_is_not_held_because_another_lost_it() {
    let now = Instant::now();
    let mut union = MergeState::new(2, false, now);
    let state = |version, address: &str, is_held: bool| {
        let held = is_held.then(|| (key("a").into(), Held::new(now, outage("doubt"))));
        Event::new(version, Instances::from_iter([instance("a", address)])).with_held(held)
    };
    let mut step = |index, event| {
        union.update(index, Some(event), now);
        let event = union.event();
        event.map(|event| (shown(&event).concat(), event.held().len()))
    };
    assert_eq!(step(0, state(1, "one:1", false)), None);
    assert_eq!(
        step(1, state(1, "two:1", false)),
        Some(("a=one:1".into(), 0))
    );
    assert_eq!(
        step(0, state(2, "one:1", true)),
        Some(("a=two:1".into(), 0))
    );
    assert_eq!(
        step(1, state(2, "two:1", true)),
        Some(("a=one:1".into(), 1))
    );
    assert_eq!(
        step(1, state(3, "two:1", false)),
        Some(("a=two:1".into(), 0))
    );
    assert_eq!(
        step(0, state(3, "one:1", false)),
        Some(("a=one:1".into(), 0))
    );
}

#[tokio::test(start_paused = true)]
async fn one_change_among_ten_thousand_copies_next_to_nothing() {
    let [one, two] = unknown();
    one.set((0..10_000).map(|n| instance(&format!("{n:05}"), "h:1")));
    two.set([]);
    let both = MergedInstancer::new([one.clone(), two]);
    let mut events = both.subscribe();
    let before = in_time(events.next()).await.unwrap();
    one.insert(instance("05000", "h:2"));
    let after = in_time(events.next()).await.unwrap();
    assert_eq!(before.instances().diff(after.instances()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_keeps_its_instances_and_the_last_ends_the_union() {
    let [one, two] = unknown();
    one.set([instance("a", "h:1")]);
    let both = MergedInstancer::new([one.clone(), two.clone()]);
    let mut events = both.subscribe();
    two.stop();
    let event = until_shown(&mut events, &["a=h:1"]).await;
    assert!(is_stopped(&event), "it ended before it knew anything");
    one.insert(instance("b", "h:1"));
    until_shown(&mut events, &["a=h:1", "b=h:1"]).await;
    one.stop();
    while in_time(events.next()).await.is_some() {}
    assert_eq!(shown(&both.state().unwrap()), ["a=h:1", "b=h:1"]);
    in_time(both.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_streams_and_drops_the_sources() {
    let [one, two] = unknown();
    one.set([instance("a", "h:1")]);
    two.set([]);
    let both = MergedInstancer::new([one.clone(), two.clone()]);
    let mut events = both.subscribe();
    until_shown(&mut events, &["a=h:1"]).await;
    in_time(both.stop()).await;
    in_time(both.stop()).await;
    let last = in_time(events.next()).await.unwrap();
    assert!(is_stopped(&last) && shown(&last) == ["a=h:1"]);
    assert!(in_time(events.next()).await.is_none());
    assert_eq!(Arc::strong_count(&one), 1);
    assert!(
        one.state().unwrap().health().is_live(),
        "others still use it"
    );
}

#[tokio::test(start_paused = true)]
async fn dropping_it_leaves_no_task() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let [one, two] = unknown();
    one.set([]);
    let sources: [Arc<dyn Source>; 2] = [one, two];
    let both = MergedInstancer::partial(sources);
    let mut events = both.subscribe();
    until_shown(&mut events, &[]).await;
    drop(both);
    until(&mut events, is_stopped).await;
    assert!(in_time(events.next()).await.is_none());
    quiet().await;
    assert_eq!(tasks(), before);
}

/// A source that panics when it is subscribed to.
struct Panicking;

impl Source for Panicking {
    fn subscribe(&self) -> Events {
        panic!("no events")
    }

    fn state(&self) -> Option<Event> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_ends_the_union() {
    let [one, _] = unknown();
    one.set([instance("a", "h:1")]);
    let sources: [Arc<dyn Source>; 2] = [one.clone(), Arc::new(Panicking)];
    let both = MergedInstancer::partial(sources);
    let mut events = both.subscribe();
    while in_time(events.next()).await.is_some() {}
    in_time(both.stop()).await;
    assert_eq!(Arc::strong_count(&one), 1, "the sources are dropped");
}
