//! Subscribers that read slowly or not at all, and entries that are not instances of their service.

use crate::*;
use futures::{FutureExt, StreamExt};
use sd_core::{Change, Client, Entry, Event, Key};
use sd_tests::{PATIENCE, throughout};
use std::sync::Arc;
use tokio::time::{sleep, timeout};

const MIB: usize = 1024 * 1024;

/// The only instance's address.
fn address(event: &Event) -> String {
    let instances = event.instances();
    assert_eq!(instances.len(), 1);
    instances.iter().next().unwrap().address().to_owned()
}

/// faults row 17
#[tokio::test(start_paused = true)]
async fn whoever_reads_slowly_or_never_has_the_newest_and_holds_nobody_up() {
    const CHANGES: usize = 1000;
    let registry = Registry::new();
    registry.put(KEY, "10.0.0.2:1").unwrap();
    let consumer = consumer(&registry).await;
    let last = format!("10.0.0.1:{CHANGES}");

    let mut never = consumer.instancer().subscribe();
    let mut slow = consumer.instancer().subscribe();
    let mut prompt = consumer.instancer().subscribe();
    // A queue would keep this alive.
    let state = consumer.instancer().state().unwrap();
    let first = Arc::downgrade(state.instances().iter().next().unwrap());
    drop(state);
    let prompt_reader = tokio::spawn({
        let last = last.clone();
        async move {
            let mut seen = 0;
            while address(&prompt.next().await.unwrap()) != last {
                seen += 1;
            }
            seen
        }
    });
    let slow_reader = tokio::spawn({
        let last = last.clone();
        async move {
            let mut seen = 0;
            while address(&slow.next().await.unwrap()) != last {
                seen += 1;
                sleep(millis(100)).await;
            }
            seen
        }
    });
    for n in 1..=CHANGES {
        registry.put(KEY, format!("10.0.0.1:{n}")).unwrap();
        let start = Instant::now();
        sleep(millis(1)).await;
        assert_eq!(
            address(&consumer.instancer().state().unwrap()),
            format!("10.0.0.1:{n}"),
            "at once, however slow others are"
        );
        // Later ones have to wait: nobody makes a fleet connect to whatever he writes.
        if n < 8 {
            assert_eq!(consumer.pick(), format!("10.0.0.1:{n}"));
        }
        assert_eq!(start.elapsed(), millis(1));
    }

    let seen = prompt_reader.await.unwrap();
    assert_eq!(seen, CHANGES, "a prompt reader sees all of them");
    let seen = slow_reader.await.unwrap();
    assert!((9..=12).contains(&seen), "a slow one skips: {seen}");
    assert_eq!(address(&never.latest().unwrap()), last);
    assert!(first.upgrade().is_none(), "no old state is kept");
    assert_eq!(address(&never.next().await.unwrap()), last);
    assert!(never.next().now_or_never().is_none(), "and no other");
    assert_eq!(registry.watchers(), 1, "however many read");
    assert_eq!(registry.calls().lists, 1);
}

fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("/svc/empty", Vec::new()),
        ("/svc/not-utf-8", vec![0xff, 0xfe, 0x00]),
        ("/svc/large", vec![b'x'; MIB]),
        ("/svc/foreign", br#"{"host":"10.0.0.1","port":80}"#.to_vec()),
        ("/svc/broken", br#"{"address":"#.to_vec()),
        ("/svc/directory/", Vec::new()),
        ("/svc/", Vec::new()),
    ]
}

/// faults row 19
#[tokio::test(start_paused = true)]
async fn garbage_is_skipped_and_counted_and_hides_nobody() {
    let registry = Registry::new();
    let litter = || {
        for (key, value) in garbage() {
            registry.put(key, value).unwrap();
        }
    };
    let count = garbage().len() as u64;
    litter();
    let (_provider, _other, consumer) = fleet(&registry).await;
    assert_eq!(consumer.instancer().skipped(), count, "met in the list");

    let fault = async {
        litter();
        registry.put("/svc/late", "10.0.0.3:80").unwrap();
        consumer.settles_on(&[ADDRESS, OTHER, "10.0.0.3:80"]).await;
        assert_eq!(
            consumer.instancer().skipped(),
            2 * count,
            "met in the watch"
        );
        // An instance whose value becomes unreadable is removed, and added again when it can be
        // read.
        registry.put("/svc/late", "?").unwrap();
        consumer.settles_on(&[ADDRESS, OTHER]).await;
        registry.put("/svc/late", "10.0.0.4:80").unwrap();
        registry.put("/svc/directory/", "10.0.0.5:80").unwrap();
        let mended = [ADDRESS, OTHER, "10.0.0.5:80", "10.0.0.4:80"];
        consumer.settles_on(&mended).await;
        sleep(seconds(60)).await;
    };
    let look = async || consumer.view();
    let has_both = |view: &sd_tests::View| view.has(ADDRESS) && view.has(OTHER);
    throughout(fault, "both to call", look, has_both).await;

    assert_eq!(consumer.made(), 5, "none was made for garbage");
    assert_eq!(registry.calls().lists, 1, "nothing of it was a gap");
    assert_eq!(registry.calls().watches, 1, "nor an interruption");
    assert!(consumer.instancer().trouble().is_none());
}

/// faults row 19, with entries that were written while the watch was interrupted.
#[tokio::test(start_paused = true)]
async fn large_garbage_does_not_keep_a_watch_from_resuming() {
    let registry = Registry::new();
    let (_provider, _other, consumer) = fleet(&registry).await;

    let fault = async {
        registry.disconnect_watchers();
        consumer.sees("trouble", |view| !view.live).await;
        let large = (0..10).map(|n| {
            let key = Key::new(format!("/svc/large-{n}")).unwrap();
            Change::Put(Entry::new(key, vec![b'x'; MIB]))
        });
        registry.transact(large);
        registry.put("/svc/c", "10.0.0.3:80").unwrap();
        consumer.settles_on(&[ADDRESS, OTHER, "10.0.0.3:80"]).await;
    };
    consumer.never_empty(fault).await;

    assert_eq!(consumer.instancer().skipped(), 10);
    assert_eq!(registry.calls().lists, 1, "resumed without a gap");
    assert_eq!(registry.calls().watches, 2);
}

/// faults row 20
#[tokio::test(start_paused = true)]
async fn a_service_does_not_see_its_namesakes() {
    let registry = Registry::new();
    let foo = Consumer::in_memory(&registry, "/svc/foo", GRACE).await;
    let foobar = Consumer::in_memory(&registry, "/svc/foobar", GRACE).await;
    let a = Provider::in_memory(&registry, "/svc/foo/a", ADDRESS, ttl()).await;
    let b = Provider::in_memory(&registry, "/svc/foobar/a", OTHER, ttl()).await;
    foo.settles_on(&[ADDRESS]).await;
    foobar.settles_on(&[OTHER]).await;
    // Keys that are close to the prefix must not be shown, after a list or by a watch.
    let late = Consumer::in_memory(&registry, "/svc/foo/", GRACE).await;
    late.settles_on(&[ADDRESS]).await;
    for stranger in ["/svc/foo", "/svc/fo", "/svc/foo-/a", "/svc/foo0", "/svc"] {
        registry.put(stranger, "10.9.9.9:80").unwrap();
    }

    let version = foo.instancer().state().unwrap().version();
    b.client().crash();
    sleep(2 * ttl().duration()).await;
    assert_eq!(foobar.view().endpoints, Vec::<String>::new());
    for consumer in [&foo, &late] {
        consumer.settles_on(&[ADDRESS]).await;
        assert_eq!((consumer.made(), consumer.pick()), (1, ADDRESS.to_owned()));
    }
    assert_eq!(
        foo.instancer().state().unwrap().version(),
        version,
        "unmoved"
    );
    let gone = timeout(PATIENCE, a.registrar().deregister());
    gone.await.unwrap().unwrap();
    foo.settles_on(&[]).await;
    assert!(a.client().lease_id().is_none());
}
