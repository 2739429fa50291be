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

fn both(
    ready_when: ReadyWhen,
    one: &Arc<FixedInstancer>,
    two: &Arc<FixedInstancer>,
) -> MergedInstancer {
    let members = [("one", one.clone()), ("two", two.clone())];
    MergedInstancer::new(ready_when, members).unwrap()
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
    let union = both(ReadyWhen::All, &one, &two);
    let mut events = union.subscribe();
    one.set([instance("a", "h:1")]);
    quiet().await;
    assert!(union.state().is_none());
    two.set([]);
    let event = until_shown(&mut events, &["a=h:1"]).await;
    assert!(event.health().is_live());
}

#[tokio::test(start_paused = true)]
async fn a_union_of_any_begins_with_one() {
    let [one, two] = unknown();
    let union = both(ReadyWhen::Any, &one, &two);
    let mut events = union.subscribe();
    quiet().await;
    assert!(union.state().is_none());
    two.set([instance("a", "h:1")]);
    let event = until_shown(&mut events, &["a=h:1"]).await;
    assert!(event.health().is_live(), "who is there is up to date");
    one.set([]);
    quiet().await;
    assert_eq!(
        union.state().unwrap().version(),
        event.version(),
        "nothing new"
    );
}

#[tokio::test(start_paused = true)]
async fn a_union_waits_for_its_primary_and_for_no_other() {
    let [one, two] = unknown();
    let ready_when = ReadyWhen::Primary("two".into());
    let union = both(ready_when, &one, &two);
    one.set([instance("a", "h:1")]);
    quiet().await;
    assert!(union.state().is_none());
    two.go_stale(outage("away"));
    let event = until_shown(&mut union.subscribe(), &["a=h:1"]).await;
    assert!(event.health().is_live());
}

/// A registry that is new and empty, and one that is old and down: neither makes the other's fleet vanish.
#[tokio::test(start_paused = true)]
async fn nobody_is_told_that_there_is_nothing_while_a_member_is_unknown() {
    let [one, two] = unknown();
    let union = both(ReadyWhen::Any, &one, &two);
    one.set([]);
    quiet().await;
    assert!(union.state().is_none(), "unknown, not empty");
    two.set([instance("a", "h:1")]);
    let mut events = union.subscribe();
    until_shown(&mut events, &["a=h:1"]).await;

    let three = Arc::new(FixedInstancer::unknown());
    union.add("three", three.clone()).unwrap();
    assert!(union.remove("two"));
    let event = until(&mut events, |event| event.held().len() == 1).await;
    assert_eq!(shown(&event), ["a=h:1"]);
    assert!(event.health().is_live());
    three.set([instance("b", "h:2")]);
    let event = until_shown(&mut events, &["b=h:2"]).await;
    assert_eq!(event.held().len(), 0);
    // Known to be empty, by all.
    three.set([]);
    until_shown(&mut events, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn members_come_and_go_with_what_only_they_have() {
    let [one, two] = unknown();
    one.set([instance("a", "one:1"), instance("b", "one:1")]);
    two.set([instance("b", "two:1")]);
    let union = both(ReadyWhen::All, &one, &two);
    let mut events = union.subscribe();
    until_shown(&mut events, &["a=one:1", "b=one:1"]).await;
    // A member that is gone has left no ghosts.
    one.go_stale(outage("for good"));
    assert!(union.remove("one") && !union.remove("one"));
    until_shown(&mut events, &["b=two:1"]).await;
    quiet().await;
    assert_eq!(Arc::strong_count(&one), 1, "it is dropped");

    let again = union.add("two", one.clone());
    assert!(matches!(again, Err(Error::Invalid(Invalid::Config(_)))));
    let three = Arc::new(FixedInstancer::new([instance("c", "h:3")]));
    union.add("three", three).unwrap();
    until_shown(&mut events, &["b=two:1", "c=h:3"]).await;
    let members = union.members();
    let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["two", "three"]);
    assert!(members[0].trouble.is_none() && members[1].state.is_some());
    assert!(union.remove("two") && union.remove("three"));
    let event = until_shown(&mut events, &[]).await;
    assert!(!event.health().is_live(), "nobody vouches for it");
    union.stop().await;
    assert!(matches!(union.add("four", one), Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn the_word_of_a_live_member_goes_before_that_of_a_stale_one() {
    let [one, two] = unknown();
    one.set([instance("a", "one:1")]);
    two.set([instance("a", "two:1")]);
    let union = both(ReadyWhen::All, &one, &two);
    let mut events = union.subscribe();
    until_shown(&mut events, &["a=one:1"]).await;
    one.go_stale(outage("away"));
    until_shown(&mut events, &["a=two:1"]).await;
    two.go_stale(outage("away too"));
    let event = until_shown(&mut events, &["a=one:1"]).await;
    assert!(!event.health().is_live());
    two.set_health(Health::Live);
    until_shown(&mut events, &["a=two:1"]).await;
    one.set_health(Health::Live);
    until_shown(&mut events, &["a=one:1"]).await;
}

/// A client that is refused for good does not leave its callers waiting.
#[tokio::test(start_paused = true)]
async fn ready_says_what_a_member_cannot_overcome() {
    struct Refused;
    #[async_trait]
    impl Source for Refused {
        fn subscribe(&self) -> Events {
            FixedInstancer::unknown().subscribe()
        }
        fn state(&self) -> Option<Event> {
            None
        }
        async fn ready(&self) -> Result<()> {
            Err(Error::permission_denied("no"))
        }
    }
    let of = |ready_when| {
        let members: [(&str, Arc<dyn Source>); 2] = [
            ("refused", Arc::new(Refused)),
            ("slow", Arc::new(FixedInstancer::unknown())),
        ];
        MergedInstancer::new(ready_when, members).unwrap()
    };
    for ready_when in [ReadyWhen::All, ReadyWhen::Primary("refused".into())] {
        let ready = in_time(of(ready_when).ready()).await;
        assert!(
            matches!(ready, Err(Error::PermissionDenied { .. })),
            "{ready:?}"
        );
    }
    let any = of(ReadyWhen::Any);
    let waits = time::timeout(Duration::from_secs(60), any.ready()).await;
    assert!(waits.is_err(), "the other one may come");
    any.add("there", FixedInstancer::new([instance("a", "h:1")]))
        .unwrap();
    in_time(any.ready()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_source_wins_and_the_second_steps_in() {
    let [one, two] = unknown();
    one.set([instance("a", "one:1")]);
    two.set([instance("a", "two:1"), instance("b", "two:1")]);
    let union = both(ReadyWhen::All, &one, &two);
    let mut events = union.subscribe();
    until_shown(&mut events, &["a=one:1", "b=two:1"]).await;
    one.remove(&key("a"));
    until_shown(&mut events, &["a=two:1", "b=two:1"]).await;
    one.insert(instance("b", "one:2"));
    until_shown(&mut events, &["a=two:1", "b=one:2"]).await;
    two.set([]);
    until_shown(&mut events, &["b=one:2"]).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_stale_since_the_last_member_is() {
    let [one, two] = unknown();
    one.set([instance("a", "h:1")]);
    two.set([instance("b", "h:1")]);
    let union = both(ReadyWhen::All, &one, &two);
    let mut events = union.subscribe();
    until(&mut events, |event| event.health().is_live()).await;
    two.go_stale(outage("second"));
    quiet().await;
    assert!(union.state().unwrap().health().is_live());
    time::advance(Duration::from_secs(1)).await;
    let since = Instant::now();
    one.go_stale(outage("first"));
    let event = until(&mut events, |event| !event.health().is_live()).await;
    assert!(event.health().to_string().contains("first"), "the last");
    assert!(matches!(event.health(), Health::Stale { since: it, .. } if *it == since));
    assert_eq!(shown(&event), ["a=h:1", "b=h:1"]);
    two.set_health(Health::Live);
    until(&mut events, |event| event.health().is_live()).await;
}

#[test]
fn what_one_registry_holds_is_not_held_because_another_lost_it() {
    let now = Instant::now();
    let mut union = MergeState::new(ReadyWhen::All);
    let members = ["one", "two"]
        .map(|name| Member::new(name.to_owned(), Arc::new(FixedInstancer::unknown())));
    union.set_members(members.iter().map(|member| (member.id, &member.name)));
    let state = |address: &str, is_held: bool| {
        let held = is_held.then(|| (key("a").into(), Held::new(now, outage("doubt"))));
        Event::new(1, Instances::from_iter([instance("a", address)])).with_held(held)
    };
    let mut step = |index: usize, event| {
        union.update(members[index].id, Some(event), now);
        let event = union.event(now);
        event.map(|event| (shown(&event).concat(), event.held().len()))
    };
    let expected = |shown: &str, held| Some((shown.to_owned(), held));
    assert_eq!(step(0, state("one:1", false)), None);
    assert_eq!(step(1, state("two:1", false)), expected("a=one:1", 0));
    assert_eq!(step(0, state("one:1", true)), expected("a=two:1", 0));
    assert_eq!(step(1, state("two:1", true)), expected("a=one:1", 1));
    assert_eq!(step(1, state("two:1", false)), expected("a=two:1", 0));
    assert_eq!(step(0, state("one:1", false)), expected("a=one:1", 0));
    assert_eq!(step(1, state("two:2", false)), None, "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn one_change_among_ten_thousand_copies_next_to_nothing() {
    let [one, two] = unknown();
    one.set((0..10_000).map(|n| instance(&format!("{n:05}"), "h:1")));
    two.set([]);
    let union = both(ReadyWhen::All, &one, &two);
    let mut events = union.subscribe();
    let before = in_time(events.next()).await.unwrap();
    one.insert(instance("05000", "h:2"));
    let after = in_time(events.next()).await.unwrap();
    assert_eq!(before.instances().diff(after.instances()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_ends_keeps_its_instances() {
    let [one, two] = unknown();
    one.set([instance("a", "h:1")]);
    let union = both(ReadyWhen::All, &one, &two);
    let mut events = union.subscribe();
    two.stop();
    until_shown(&mut events, &["a=h:1"]).await;
    one.insert(instance("b", "h:1"));
    until_shown(&mut events, &["a=h:1", "b=h:1"]).await;
    one.stop();
    let event = until(&mut events, is_stopped).await;
    assert_eq!(shown(&event), ["a=h:1", "b=h:1"]);
    // Another may still be added.
    union.add("three", FixedInstancer::new([])).unwrap();
    until(&mut events, |event| event.health().is_live()).await;
    in_time(union.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_streams_and_drops_the_sources() {
    let [one, two] = unknown();
    one.set([instance("a", "h:1")]);
    two.set([]);
    let union = both(ReadyWhen::All, &one, &two);
    let mut events = union.subscribe();
    until_shown(&mut events, &["a=h:1"]).await;
    in_time(union.stop()).await;
    in_time(union.stop()).await;
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
    one.set([instance("a", "h:1")]);
    let sources: [Arc<dyn Source>; 2] = [one, two];
    let members = ["one", "two"].into_iter().zip(sources);
    let union = MergedInstancer::new(ReadyWhen::Any, members).unwrap();
    let mut events = union.subscribe();
    until_shown(&mut events, &["a=h:1"]).await;
    drop(union);
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
    let members = ["one", "two"].into_iter().zip(sources);
    let union = MergedInstancer::new(ReadyWhen::Any, members).unwrap();
    let mut events = union.subscribe();
    while in_time(events.next()).await.is_some() {}
    in_time(union.stop()).await;
    assert_eq!(Arc::strong_count(&one), 1, "the sources are dropped");
}
