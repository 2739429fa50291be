//! Instancers on paused time, against a scripted client.

mod endings;
mod script;

use super::*;
use crate::{
    consumer::{
        fixed::FixedInstancer,
        merge::MergedInstancer,
        testing::{delete, entry, key, names, prefix, put},
    },
    instances::{
        Codec, CodecError, Decoded, Instance,
        testing::{in_time, is_stopped, quiet, until},
    },
    registry::{Change, Entry, Gap, WatchError},
    support::denied,
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use script::{Call, batch, interrupted, script};
use std::sync::Arc;
use tokio::time::Instant;

async fn until_names(events: &mut Events, expected: &[&str]) -> Event {
    until(events, |event| names(event) == expected).await
}

#[tokio::test(start_paused = true)]
async fn it_lists_once_and_follows_by_deltas() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    let mut events = instancer.subscribe();
    script.list(1, &["a"]);
    let watch = script.open();
    in_time(instancer.ready()).await.unwrap();
    until_names(&mut events, &["a"]).await;
    for (revision, name) in (2..).zip(["b", "c", "d"]) {
        watch.send(batch(revision, put(name))).unwrap();
        until(&mut events, |e| names(e).last() == Some(&name)).await;
    }
    watch.send(batch(5, delete("a"))).unwrap();
    until_names(&mut events, &["b", "c", "d"]).await;
    assert_eq!(script.calls(), [Call::List, script.watched_after(1)]);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_resumes_from_the_last_batch() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    let mut events = instancer.subscribe();
    script.list(1, &["a"]);
    let watch = script.open();
    watch.send(batch(7, put("b"))).unwrap();
    watch.send(Err(interrupted())).unwrap();
    script.refuse_watch(interrupted());
    until(&mut events, |event| !event.health().is_live()).await;
    let watch = script.open();
    watch.send(batch(8, delete("a"))).unwrap();
    let event = until(&mut events, |event| event.held().len() == 1).await;
    assert_eq!(names(&event), ["a", "b"]);
    until_names(&mut events, &["b"]).await;
    let resumed = script.watched_after(7);
    assert_eq!(
        script.calls(),
        [
            Call::List,
            script.watched_after(1),
            resumed.clone(),
            resumed
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_gap_lists_again_and_shows_the_difference() {
    let (client, script) = script();
    let instancer = Instancer::builder(client, prefix())
        .grace(Duration::ZERO)
        .build();
    let mut events = instancer.subscribe();
    script.list(1, &["a", "b"]);
    let watch = script.open();
    let before = until_names(&mut events, &["a", "b"]).await;
    watch.send(Err(WatchError::Gap(Gap::Compacted))).unwrap();
    script.list(9, &["b", "c"]);
    let _watch = script.open();
    let after = until(&mut events, |event| {
        names(event) == ["b", "c"] && event.health().is_live()
    })
    .await;
    assert!(Arc::ptr_eq(
        before.instances().get(&key("b")).unwrap(),
        after.instances().get(&key("b")).unwrap()
    ));
    assert_eq!(
        script.calls(),
        [
            Call::List,
            script.watched_after(1),
            Call::List,
            script.watched_after(9)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_over_is_dropped_before_the_next_is_asked_for() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.list(1, &["a"]);
    let watch = script.open();
    in_time(instancer.ready()).await.unwrap();
    watch.send(Err(interrupted())).unwrap();
    in_time(watch.closed()).await;
    assert_eq!(script.calls().len(), 2, "still in the pause");
}

#[tokio::test(start_paused = true)]
async fn there_is_no_event_before_the_first_list() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    let mut events = instancer.subscribe();
    script.refuse_list(Error::unavailable("down"));
    time::sleep(Duration::from_secs(60)).await;
    assert!(instancer.state().is_none() && events.latest().is_none());
    assert!(events.next().now_or_never().is_none());
    script.list(1, &[]);
    let first = until_names(&mut events, &[]).await;
    assert!(!first.health().is_live(), "nobody has answered the watch");
    let _watch = script.open();
    until(&mut events, |event| event.health().is_live()).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_subscriber_gets_the_current_state_first() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.list(1, &["a"]);
    let watch = script.open();
    watch.send(batch(2, put("b"))).unwrap();
    until_names(&mut instancer.subscribe(), &["a", "b"]).await;
    let mut late = instancer.subscribe();
    let first = late.next().now_or_never().flatten().unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    assert!(late.next().now_or_never().is_none(), "once");
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_holds_nobody_up() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.list(0, &["0"]);
    let watch = script.open();
    let mut slow = instancer.subscribe();
    let mut never = instancer.subscribe();
    let mut eager = instancer.subscribe();
    let first = until_names(&mut slow, &["0"]).await;
    for revision in 1..=1_000 {
        watch
            .send(batch(revision, put(&revision.to_string())))
            .unwrap();
        let count = usize::try_from(revision).unwrap() + 1;
        until(&mut eager, |event| event.instances().len() == count).await;
    }
    let next = in_time(slow.next()).await.unwrap();
    assert_eq!(next.instances().len(), 1_001, "straight to the newest");
    assert!(next.version() > first.version() + 1);
    assert!(slow.next().now_or_never().is_none());
    assert_eq!(never.latest().unwrap().version(), next.version());
    assert_eq!(
        in_time(never.next()).await.unwrap().version(),
        next.version()
    );
}

#[tokio::test(start_paused = true)]
async fn batches_that_wait_become_one_state() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.list(0, &[]);
    let watch = script.open();
    let mut events = instancer.subscribe();
    let first = until_names(&mut events, &[]).await;
    quiet().await;
    for revision in 1..=100 {
        watch
            .send(batch(revision, put(&revision.to_string())))
            .unwrap();
    }
    let next = in_time(events.next()).await.unwrap();
    assert_eq!(next.instances().len(), 100);
    assert_eq!(next.version(), first.version() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_never_pauses_starves_nobody() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.list(0, &[]);
    let watch = script.open();
    for revision in 1..=50_000_u64 {
        let changed = entry("a", format!("h:{revision}"));
        watch.send(batch(revision, Change::Put(changed))).unwrap();
    }
    let mut versions = Vec::new();
    let mut events = instancer.subscribe();
    while let Ok(Some(event)) = time::timeout(Duration::from_secs(1), events.next()).await {
        versions.push(event.version());
    }
    assert!(versions.len() > 100, "{} states were seen", versions.len());
}

#[tokio::test(start_paused = true)]
async fn ready_waits_for_what_can_pass() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    for _ in 0..100 {
        script.refuse_list(Error::unavailable("down"));
    }
    let error = instancer.ready_within(Duration::from_secs(5)).await;
    assert!(matches!(error, Err(Error::Unavailable { .. })), "{error:?}");
    assert!(matches!(instancer.trouble(), Some(Trouble::List(_))));
    script.list(1, &["a"]);
    in_time(instancer.ready()).await.unwrap();
    assert_eq!(names(&instancer.state().unwrap()), ["a"]);
    assert!(instancer.trouble().is_none());
}

#[tokio::test(start_paused = true)]
async fn ready_says_when_the_registry_never_answered() {
    let (client, _script) = script();
    let instancer = Instancer::new(client, prefix());
    let error = instancer.ready_within(Duration::from_secs(5)).await;
    assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn ready_says_at_once_what_cannot_pass_and_no_storm_follows() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    let asked = Instant::now();
    for _ in 0..100 {
        script.refuse_list(denied());
    }
    let error = in_time(instancer.ready()).await;
    assert!(
        matches!(error, Err(Error::PermissionDenied { .. })),
        "{error:?}"
    );
    assert_eq!(asked.elapsed(), Duration::ZERO);
    time::sleep(Duration::from_secs(300)).await;
    let tries = script.calls().len();
    assert!((5..30).contains(&tries), "{tries} attempts in five minutes");
}

#[tokio::test(start_paused = true)]
async fn granted_rights_are_noticed() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.refuse_list(denied());
    in_time(instancer.ready()).await.unwrap_err();
    script.list(1, &["a"]);
    until_names(&mut instancer.subscribe(), &["a"]).await;
    in_time(instancer.ready()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn ready_stays_ready_in_an_outage() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.list(1, &["a"]);
    script.refuse_watch(WatchError::Interrupted(denied()));
    let mut events = instancer.subscribe();
    let event = until(&mut events, |event| !event.health().is_live()).await;
    assert_eq!(names(&event), ["a"]);
    in_time(instancer.ready()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_down_is_not_stormed() {
    let (client, script) = script();
    let _instancer = Instancer::new(client, prefix());
    for _ in 0..10_000 {
        script.refuse_list(Error::unavailable("down"));
    }
    time::sleep(Duration::from_secs(100)).await;
    let tries = script.calls().len();
    assert!((50..120).contains(&tries), "{tries} attempts in 100 s");
}

#[tokio::test(start_paused = true)]
async fn entries_left_out_are_counted() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.list(1, &["a"]);
    let watch = script.open();
    let garbage = Change::Put(entry("b", "garbage"));
    watch.send(batch(2, garbage)).unwrap();
    watch.send(batch(3, put("c"))).unwrap();
    until_names(&mut instancer.subscribe(), &["a", "c"]).await;
    assert_eq!(instancer.skipped(), 1);
}

/// Panics on values that are not UTF-8.
struct CarelessCodec;

impl Codec for CarelessCodec {
    fn decode(&self, entry: &Entry) -> Result<Decoded, CodecError> {
        let text = std::str::from_utf8(&entry.value).unwrap();
        Ok(Instance::new(entry.key.clone(), text).into())
    }

    fn encode(&self, instance: &Instance) -> Result<Bytes, CodecError> {
        Ok(Bytes::from(instance.address().to_owned()))
    }
}

/// Row 36.
#[tokio::test(start_paused = true)]
async fn a_codec_that_panics_on_one_value_does_not_end_discovery() {
    let (client, script) = script();
    let builder = Instancer::builder(client, prefix()).codec(CarelessCodec);
    let instancer = builder.build();
    script.list(1, &["a"]);
    let watch = script.open();
    let bad = Entry::new(key("bad"), vec![0xff, 0xfe]);
    watch.send(batch(2, Change::Put(bad))).unwrap();
    watch.send(batch(3, put("b"))).unwrap();
    let two = in_time(instancer.until(|event| event.instances().len() == 2)).await;
    assert_eq!(names(&two.unwrap()), ["a", "b"]);
    assert_eq!(instancer.skipped(), 1);
    assert!(instancer.trouble().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_subscription_leaves_nothing_behind() {
    let (client, script) = script();
    let instancer = Instancer::new(client, prefix());
    script.list(1, &["a"]);
    let watch = script.open();
    let first = until_names(&mut instancer.subscribe(), &["a"]).await;
    quiet().await;
    let instance = Arc::downgrade(first.instances().get(&key("a")).unwrap());
    for _ in 0..1_000 {
        let mut events = instancer.subscribe();
        _ = in_time(events.next()).await;
    }
    drop(first);
    watch.send(batch(2, delete("a"))).unwrap();
    until_names(&mut instancer.subscribe(), &[]).await;
    assert!(instance.upgrade().is_none());
}

#[test]
fn it_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Instancer>();
    shared::<MergedInstancer>();
    shared::<FixedInstancer>();
}

#[tokio::test(start_paused = true)]
async fn an_instancer_is_awaited_as_any_source() {
    let (client, script) = script();
    let instancer: Arc<dyn Source> = Arc::new(Instancer::new(client, prefix()));
    script.refuse_list(denied());
    let ready = in_time(instancer.ready()).await;
    assert!(
        matches!(ready, Err(Error::PermissionDenied { .. })),
        "{ready:?}"
    );
    script.list(1, &["a"]);
    let watch = script.open();
    watch.send(batch(2, put("b"))).unwrap();
    let two = in_time(instancer.until(|event| event.instances().len() == 2)).await;
    assert_eq!(names(&two.unwrap()), ["a", "b"]);
    in_time(instancer.ready()).await.unwrap();
}
