//! Subscribers that read slowly or not at all, and entries that are not instances.

use futures::{FutureExt, StreamExt};
use sd_core::{
    Batch, Change, Client, Event, Events, Gap, Instancer, Prefix, Revision, Service, Watch,
    WatchError,
};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, Line, Log, PATIENCE, Proxy, eventually};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};

const MIB: usize = 1024 * 1024;

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

fn prefix() -> Prefix {
    Prefix::new("/svc").unwrap()
}

fn client(endpoint: impl Into<String>) -> EtcdClient {
    EtcdClient::connect([endpoint]).unwrap()
}

/// The only instance's address.
fn address(event: &Event) -> String {
    let instances = event.instances();
    assert_eq!(instances.len(), 1);
    instances.iter().next().unwrap().address().to_owned()
}

// === Row 17: slow readers ===

/// Reads until it has seen `last`. Returns how many states it has read.
async fn reads_until(events: &mut Events, last: &str) -> usize {
    let mut seen = 0;
    loop {
        let event = events.next().await.expect("no end");
        seen += 1;
        if address(&event) == last {
            return seen;
        }
    }
}

/// faults row 17
#[tokio::test]
async fn whoever_reads_slowly_or_never_has_the_newest_and_holds_nobody_up() {
    const CHANGES: usize = 500;
    let etcd = Etcd::start().await;
    etcd.put("/svc/a", "10.0.0.2:1").await;
    let instancer = Instancer::new(client(etcd.endpoint()), prefix());
    in_time(instancer.ready()).await.unwrap();
    let last = format!("10.0.0.1:{CHANGES}");

    let mut never = instancer.subscribe();
    let mut slow = instancer.subscribe();
    let mut prompt = instancer.subscribe();
    // A queue would keep this alive.
    let state = instancer.state().unwrap();
    let first = Arc::downgrade(state.instances().iter().next().unwrap());
    drop(state);
    let (go_on, gone_on) = oneshot::channel::<()>();
    let slow_reader = tokio::spawn({
        let last = last.clone();
        async move {
            slow.next().await.unwrap();
            gone_on.await.unwrap();
            (reads_until(&mut slow, &last).await, slow)
        }
    });
    let prompt_reader = tokio::spawn({
        let last = last.clone();
        async move { reads_until(&mut prompt, &last).await }
    });
    for n in 1..=CHANGES {
        etcd.put("/svc/a", format!("10.0.0.1:{n}")).await;
    }

    let seen = in_time(prompt_reader).await.unwrap();
    assert!(seen > 10, "a prompt reader sees most states, not {seen}");
    go_on.send(()).unwrap();
    let (seen, _slow) = in_time(slow_reader).await.unwrap();
    assert_eq!(seen, 1, "a slow one skips to the newest");
    assert_eq!(address(&never.latest().unwrap()), last);
    assert!(first.upgrade().is_none(), "no old state is kept");
    assert_eq!(address(&in_time(never.next()).await.unwrap()), last);
    assert!(never.next().now_or_never().is_none(), "and no other");
    assert_eq!(etcd.metrics().await.watchers(), 1, "however many read");
}

/// The changes of a watch up to its end or to `last`, the last resume token, and whether it ended.
async fn read(watch: &mut Watch, last: &str) -> (Vec<Change>, Option<Revision>, bool) {
    let (mut changes, mut resume) = (Vec::new(), None);
    loop {
        match in_time(watch.next()).await {
            Some(Ok(batch)) => {
                let Batch { changes: more, .. } = batch;
                resume = Some(batch.resume);
                changes.extend(more);
                if changes.last().is_some_and(|it| it.key().as_str() == last) {
                    return (changes, resume, false);
                }
            }
            Some(Err(WatchError::Disrupted(_))) => {}
            Some(Err(WatchError::Interrupted(_))) => return (changes, resume, true),
            other => panic!("{other:?}"),
        }
    }
}

fn bytes(changes: &[Change]) -> usize {
    changes
        .iter()
        .filter_map(Change::value)
        .map(|value| value.len())
        .sum()
}

/// faults row 17, for a watch without the layers above.
#[tokio::test]
async fn a_watch_that_nobody_reads_is_bounded_and_hangs_nobody() {
    const LIMIT: usize = 4 * MIB;
    const VALUES: usize = 24;
    let etcd = Etcd::start().await;
    let client = EtcdClient::builder([etcd.endpoint()])
        .max_message_bytes(LIMIT)
        .build()
        .unwrap();
    let start = client.get_entries(&prefix()).await.unwrap().revision;
    let mut unread = client.watch_prefix(&prefix(), &start).await.unwrap();
    let mut prompt = client.watch_prefix(&prefix(), &start).await.unwrap();
    // The first changes come in one batch, however many they are. From here on, both watches
    // follow.
    let first = "/svc/first";
    etcd.put(first, "10.0.0.1:80").await;
    let (one, _, _) = in_time(read(&mut prompt, first)).await;
    assert_eq!(one.len(), 1);
    let last = format!("/svc/{:02}", VALUES - 1);

    let reader = tokio::spawn({
        let last = last.clone();
        async move { read(&mut prompt, &last).await }
    });
    for n in 0..VALUES {
        etcd.put(format!("/svc/{n:02}"), vec![b'x'; MIB]).await;
    }

    let (read_at_once, _, interrupted) = in_time(reader).await.unwrap();
    assert!(!interrupted, "one that is read is not held up");
    assert_eq!(bytes(&read_at_once), VALUES * MIB);
    let other = Prefix::new("/other").unwrap();
    let answer = in_time(client.get_entries(&other)).await;
    assert!(answer.unwrap().entries.is_empty());
    assert_eq!(etcd.metrics().await.watchers(), 0, "neither is needed");
    let service = Service::new("/other/a", "10.0.0.1:80").unwrap();
    let _held = in_time(client.register(&service)).await.unwrap();
    assert!(etcd.client_connections() <= 2);

    let (changes, resume, interrupted) = read(&mut unread, &last).await;
    assert!(interrupted, "it is told that it was too slow");
    assert!(bytes(&changes) <= LIMIT, "{} kept", bytes(&changes));
    assert!(unread.next().await.is_none());
    // A watch that resumes there would have to hand over more at once than may be held. It says so,
    // and a list misses nothing.
    let after = resume.as_ref().unwrap_or(&start);
    let mut again = client.watch_prefix(&prefix(), after).await.unwrap();
    let end = loop {
        match in_time(again.next()).await {
            Some(Ok(_) | Err(WatchError::Disrupted(_))) => {}
            other => break other,
        }
    };
    let overflow = matches!(end, Some(Err(WatchError::Gap(Gap::Overflow))));
    assert!(overflow, "{end:?}");
    let listed = client.get_entries(&prefix()).await.unwrap().entries;
    let values = listed.iter().map(|entry| entry.value.len());
    assert_eq!(values.sum::<usize>(), "10.0.0.1:80".len() + VALUES * MIB);
}

// === Row 19: garbage ===

/// How many lines of the log have this message, and this key if one is given.
fn count(log: &Log, message: &str, key: Option<&str>) -> usize {
    let lines = log.lines().into_iter();
    let says = lines.filter(|line| line.message == message);
    let is_its = |line: &Line| key.is_none_or(|key| line.field("key") == Some(key));
    says.filter(is_its).count()
}

/// Keys, and values that are no instances.
fn garbage() -> Vec<(&'static [u8], Vec<u8>)> {
    vec![
        (b"/svc/empty", Vec::new()),
        (b"/svc/not-utf-8", b"10.0.0.1:80\xff".to_vec()),
        (b"/svc/large", vec![b'1'; MIB]),
        (b"/svc/foreign", br#"{"Addr":"10.0.0.1:80"}"#.to_vec()),
        (b"/svc/half", br#"{"address":"10.0.0.1:80""#.to_vec()),
        (b"/svc/blank", b" ".to_vec()),
        (b"/svc/", Vec::new()),
        (b"/svc/directory/", Vec::new()),
    ]
}

/// Two keys that are not UTF-8.
const UNSPEAKABLE: [&[u8]; 2] = [b"/svc/\xff\xfe", b"/svc/good\xc3"];

fn addresses(instancer: &Instancer) -> Vec<String> {
    let state = instancer.state();
    state.map_or(Vec::new(), |event| {
        let instances = event.instances().iter();
        instances.map(|it| it.address().to_owned()).collect()
    })
}

async fn shows(instancer: &Instancer, expected: &[&str]) {
    let shown = || async { addresses(instancer) };
    eventually(PATIENCE, "the instances", shown, |shown| shown == expected).await;
}

/// faults row 19
#[tokio::test]
async fn garbage_is_skipped_counted_and_logged_once_and_hides_nobody() {
    let log = Log::capture();
    let etcd = Etcd::start().await;
    let litter = async || {
        for (key, value) in garbage() {
            etcd.put(key, value).await;
        }
        for key in UNSPEAKABLE {
            etcd.put(key, "10.0.0.1:80").await;
        }
    };
    litter().await;
    let garbage = (garbage().len() + UNSPEAKABLE.len()) as u64;
    etcd.put("/svc/good", "10.0.0.1:1").await;

    // In the list.
    let instancer = Instancer::new(client(etcd.endpoint()), prefix());
    in_time(instancer.ready()).await.unwrap();
    assert_eq!(addresses(&instancer), ["10.0.0.1:1"]);
    assert_eq!(instancer.skipped(), garbage);

    // In the watch, again.
    litter().await;
    etcd.put("/svc/late", r#"{"address":"10.0.0.1:2","later":1}"#)
        .await;
    shows(&instancer, &["10.0.0.1:1", "10.0.0.1:2"]).await;
    assert_eq!(instancer.skipped(), 2 * garbage);
    // The first few have a line each, the others one together.
    assert_eq!(count(&log, "entry skipped", None), 2);
    assert_eq!(count(&log, "more entries skipped", None), 1);
    for (key, _) in self::garbage() {
        let key = String::from_utf8_lossy(key);
        assert!(count(&log, "entry skipped", Some(&key)) <= 1, "{key}");
    }

    // An instance whose value becomes unreadable is removed, and added again when it can be read.
    etcd.put("/svc/good", "?").await;
    shows(&instancer, &["10.0.0.1:2"]).await;
    etcd.put("/svc/good", "10.0.0.1:3").await;
    etcd.put("/svc/directory/", "10.0.0.1:4").await;
    shows(&instancer, &["10.0.0.1:4", "10.0.0.1:3", "10.0.0.1:2"]).await;
    for key in UNSPEAKABLE {
        assert!(etcd.delete(key).await);
    }
    assert!(etcd.delete("/svc/large").await);
    etcd.put("/svc/end", "10.0.0.1:5").await;
    eventually(
        PATIENCE,
        "the end",
        async || addresses(&instancer).len(),
        |n| *n == 4,
    )
    .await;
    assert_eq!(count(&log, "listed", None), 1, "nothing of it was a gap");
}

/// faults row 19, with more changes than fit into one message by default.
#[tokio::test]
async fn large_garbage_does_not_keep_a_watch_from_resuming() {
    let log = Log::capture();
    let etcd = Etcd::start().await;
    etcd.put("/svc/a", "10.0.0.1:1").await;
    let proxy = Proxy::to(etcd.address()).await;
    let instancer = Instancer::new(client(proxy.endpoint()), prefix());
    in_time(instancer.ready()).await.unwrap();
    shows(&instancer, &["10.0.0.1:1"]).await;
    let is_live = || async { instancer.state().unwrap().health().is_live() };

    proxy.refuse().await;
    proxy.drop_connections();
    eventually(PATIENCE, "trouble", is_live, |live| !live).await;
    for n in 0..10 {
        etcd.put(format!("/svc/large-{n}"), vec![b'x'; MIB]).await;
    }
    etcd.put("/svc/b", "10.0.0.1:2").await;
    proxy.resume();

    shows(&instancer, &["10.0.0.1:1", "10.0.0.1:2"]).await;
    eventually(PATIENCE, "health", is_live, |live| *live).await;
    etcd.put("/svc/c", "10.0.0.1:3").await;
    shows(&instancer, &["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3"]).await;
    assert_eq!(instancer.skipped(), 10);
    assert_eq!(count(&log, "entry skipped", None), 2);
    assert!(count(&log, "more entries skipped", None) >= 1);
    assert_eq!(count(&log, "listed", None), 1, "resumed without a gap");
    assert!(instancer.trouble().is_none());

    // The same for a first list.
    let newcomer = Instancer::new(client(etcd.endpoint()), prefix());
    in_time(newcomer.ready_within(Duration::from_secs(20)))
        .await
        .unwrap();
    assert_eq!(addresses(&newcomer).len(), 3);
    assert_eq!(newcomer.skipped(), 10);
}
