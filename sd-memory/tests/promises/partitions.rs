//! Faults of one client alone, failing calls, and delayed watches.

use super::*;
use sd_core::{Deregistered, Error, Lost};
use sd_memory::ClientOptions;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_hears_nothing_while_the_others_go_on() {
    let registry = Registry::new();
    let (alone, other) = (registry.client(), registry.client());
    let mut mine = registered(&alone, A, "1").await;
    let mut seen = watch(&alone).await;

    alone.cut_off();
    alone.cut_off();
    let theirs = registered(&other, B, "2").await;
    let listed = alone.get_entries(&hello()).await;
    assert!(matches!(listed, Err(Error::Timeout { .. })), "{listed:?}");
    assert!(matches!(
        item(&mut seen).await,
        Err(WatchError::Disrupted(_))
    ));
    let last = item(&mut seen).await;
    assert!(matches!(
        last,
        Err(WatchError::Interrupted(Error::Timeout { .. }))
    ));
    sleep(2 * TTL).await;
    assert_eq!(value(&registry, A), None, "nothing keeps the lease alive");
    assert_eq!((mine.loss(), theirs.loss()), (None, None));

    alone.reconnect();
    assert_eq!(soon(mine.lost()).await, Lost::LeaseExpired);
    assert_eq!(alone.get_entries(&hello()).await.unwrap().entries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_short_partition_loses_nothing_and_delays_the_news() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "1").await;
    let mut seen = watch(&client).await;

    client.cut_off();
    registry.put(B, "2").unwrap();
    registry.disconnect_watchers();
    assert!(matches!(
        item(&mut seen).await,
        Err(WatchError::Disrupted(_))
    ));
    let service = service("/services/hello/c", "3");
    let (registered, ()) = tokio::join!(client.register(&service), async {
        sleep(seconds(1)).await;
        client.reconnect();
    });
    let _registered = registered.unwrap();
    let last = item(&mut seen).await;
    assert!(matches!(
        last,
        Err(WatchError::Interrupted(Error::Unavailable { .. }))
    ));
    sleep(2 * TTL).await;
    assert_eq!(registration.loss(), None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_can_be_closed() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "1").await;
    client.cut_off();
    client.close().await;
    assert_eq!(registration.loss(), Some(Lost::Closed));
    assert_eq!(registry.leases().len(), 1, "it runs out");
    sleep(TTL).await;
    assert_eq!(registry.leases().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn so_many_calls_fail_and_no_more() {
    let registry = Registry::new();
    let (one, other) = (registry.client(), registry.client());
    let _held = registered(&one, A, "1").await;
    one.fail_next(1, Error::permission_denied("not you"));
    registry.fail_next(1, Error::unavailable("nobody"));
    sleep(2 * TTL).await;

    let everybody = other.get_entries(&hello()).await;
    assert!(
        matches!(everybody, Err(Error::Unavailable { .. })),
        "{everybody:?}"
    );
    other.get_entries(&hello()).await.unwrap();
    let outcome = one.register(&service(B, "2")).await;
    assert!(
        matches!(outcome, Err(Error::PermissionDenied { .. })),
        "{outcome:?}"
    );
    let _registered = one.register(&service(B, "2")).await.unwrap();
    assert_eq!(
        value(&registry, A).as_deref(),
        Some("1"),
        "keep-alives go on"
    );
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_is_tried_again() {
    let registry = Registry::new();
    let client = registry.client();
    let _registration = registered(&client, A, "1").await;
    client.fail_next(3, Error::transient("try again"));
    let outcome = client.deregister(&service(A, "1")).await;
    assert_eq!(outcome.unwrap(), Deregistered::Removed);
    assert_eq!(value(&registry, A), None);
}

#[tokio::test(start_paused = true)]
async fn watches_hear_late_and_miss_nothing() {
    let registry = Registry::new();
    let client = registry.client();
    let mut seen = watch(&client).await;
    registry.put(A, "0").unwrap();
    registry.delay_watches(seconds(5));
    assert_eq!(changes(&mut seen).await, ["+/services/hello/a=0"]);

    let began = Instant::now();
    registry.put(A, "1").unwrap();
    sleep(seconds(2)).await;
    registry.put(A, "2").unwrap();
    assert_eq!(
        client.get_entries(&hello()).await.unwrap().entries[0].value,
        "2"
    );
    assert_eq!(changes(&mut seen).await, ["+/services/hello/a=1"]);
    assert_eq!(began.elapsed(), seconds(5));
    assert_eq!(changes(&mut seen).await, ["+/services/hello/a=2"]);
    assert_eq!(began.elapsed(), seconds(7));

    registry.put(A, "3").unwrap();
    registry.delay_watches(Duration::ZERO);
    assert_eq!(changes(&mut seen).await, ["+/services/hello/a=3"]);
    assert_eq!(began.elapsed(), seconds(7));
}

#[tokio::test(start_paused = true)]
async fn late_news_of_a_registry_that_was_rebuilt_is_none() {
    let registry = Registry::new();
    let client = registry.client();
    registry.delay_watches(Duration::MAX);
    registry.put(A, "1").unwrap();
    registry.rebuild_empty();
    let mut seen = watch(&client).await;
    registry.delay_watches(seconds(1));
    registry.put(A, "2").unwrap();
    assert_eq!(changes(&mut seen).await, ["+/services/hello/a=2"]);
}

/// The longest duration means "never" for every option.
#[tokio::test(start_paused = true)]
async fn nothing_panics_at_durations_without_end() {
    let registry = Registry::with_history(usize::MAX);
    let patient = ClientOptions::default()
        .with_silence(Duration::MAX, Duration::MAX)
        .with_request_timeout(Duration::MAX)
        .with_deregister_timeout(Duration::MAX)
        .with_request_limit(usize::MAX);
    let client = registry.client_with(patient);
    let mut seen = watch(&client).await;
    let registration = registered(&client, A, "1").await;
    assert_eq!(changes(&mut seen).await, ["+/services/hello/a=1"]);

    registry.freeze();
    for seconds_of_silence in [1, 10_000] {
        let silence = seconds(seconds_of_silence);
        let heard = tokio::time::timeout(silence, seen.next()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
    registry.thaw();
    assert_eq!(changes(&mut seen).await, ["-/services/hello/a"]);

    registry.delay_watches(Duration::MAX);
    registry.put(B, "2").unwrap();
    let heard = tokio::time::timeout(seconds(10_000), seen.next()).await;
    assert!(heard.is_err(), "{heard:?}");
    let dropped = registered(&client, A, "1").await;
    registry.fail_next(usize::MAX, Error::unavailable("for ever"));
    drop(dropped);
    assert!(client.get_entries(&hello()).await.is_err());

    registry.delay(Duration::MAX);
    let listed = tokio::time::timeout(seconds(10_000), client.get_entries(&hello())).await;
    assert!(listed.is_err(), "{listed:?}");
    let service = service(A, "1");
    let removed = tokio::time::timeout(seconds(10_000), client.deregister(&service)).await;
    assert!(removed.is_err(), "{removed:?}");
    drop(registration);
    client.close().await;
}
