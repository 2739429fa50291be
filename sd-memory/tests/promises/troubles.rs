//! A registry that does not answer, or refuses calls.

use crate::{A, B, TTL, changes, hello, item, registered, seconds, service, soon, value, watch};
use futures::{FutureExt, StreamExt};
use sd_core::{Client, Deregistered, Error, Lost, Reclaimed, WatchError};
use sd_memory::Registry;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_frozen_registry_is_a_disruption_and_then_an_interruption() {
    let registry = Registry::new();
    let client = registry.client();
    let mut watch = watch(&client).await;
    registry.freeze();
    let frozen = Instant::now();
    let first = item(&mut watch).await;
    assert!(
        matches!(first, Err(WatchError::Disrupted(Error::Timeout { .. }))),
        "{first:?}"
    );
    assert_eq!(frozen.elapsed(), seconds(2));
    let last = item(&mut watch).await;
    assert!(
        matches!(last, Err(WatchError::Interrupted(Error::Timeout { .. }))),
        "{last:?}"
    );
    assert_eq!(frozen.elapsed(), seconds(6));
    assert!(soon(watch.next()).await.is_none());
    assert_eq!(registry.watchers(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_disruption_that_passes_is_followed_by_what_was_missed() {
    let registry = Registry::new();
    let client = registry.client();
    let mut watch = watch(&client).await;
    registry.freeze();
    assert!(matches!(
        item(&mut watch).await,
        Err(WatchError::Disrupted(_))
    ));
    registry.put(A, "1").unwrap();
    assert!(watch.next().now_or_never().is_none());
    registry.thaw();
    assert_eq!(changes(&mut watch).await, [format!("+{A}=1")]);

    // Without changes, progress shows that the registry answers again.
    registry.freeze();
    assert!(matches!(
        item(&mut watch).await,
        Err(WatchError::Disrupted(_))
    ));
    registry.thaw();
    assert!(changes(&mut watch).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_timeout_and_have_no_effect_then() {
    let registry = Registry::new();
    let client = registry.client();
    let now = client.get_entries(&hello()).await.unwrap().revision;
    registry.freeze();
    let frozen = Instant::now();
    let (list, watch, register) = tokio::join!(
        async { client.get_entries(&hello()).await },
        async { client.watch_prefix(&hello(), &now).await },
        async { client.register(&service(A, "1")).await },
    );
    assert_eq!(frozen.elapsed(), seconds(3));
    assert!(matches!(list, Err(Error::Timeout { .. })));
    assert!(matches!(
        watch,
        Err(WatchError::Interrupted(Error::Timeout { .. }))
    ));
    assert!(matches!(register, Err(Error::Timeout { .. })));
    registry.thaw();
    sleep(seconds(1)).await;
    assert!(registry.entries().is_empty());
    assert!(registry.leases().is_empty());
    assert_eq!(registry.watchers(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_goes_through_at_the_thaw() {
    let registry = Registry::new();
    let client = registry.client();
    registry.freeze();
    let thawed = async {
        sleep(seconds(2)).await;
        registry.thaw();
    };
    let (registration, ()) = tokio::join!(registered(&client, A, "1"), thawed);
    assert_eq!(registration.loss(), None);
    assert!(registry.get(A).is_some());
}

/// faults row 3
#[tokio::test(start_paused = true)]
async fn a_short_freeze_loses_nothing() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "1").await;
    registry.freeze();
    sleep(TTL / 2).await;
    registry.thaw();
    sleep(TTL * 3).await;
    assert_eq!(registration.loss(), None);
    assert!(registry.get(A).is_some());
}

/// faults row 2
#[tokio::test(start_paused = true)]
async fn a_long_freeze_ends_the_leases_at_the_thaw_and_not_before() {
    let registry = Registry::new();
    let client = registry.client();
    let mut registration = registered(&client, A, "1").await;
    registry.freeze();
    sleep(TTL * 2).await;
    assert!(registry.get(A).is_some());
    assert_eq!(registration.loss(), None, "silence is no loss");
    registry.thaw();
    assert!(registry.get(A).is_none());
    assert_eq!(soon(registration.lost()).await, Lost::LeaseExpired);
    let back = registration.reclaim("2").await.unwrap();
    assert!(matches!(back, Reclaimed::Held(_)));
    assert_eq!(value(&registry, A).unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn what_happened_in_a_freeze_is_told_at_the_thaw() {
    let registry = Registry::new();
    let client = registry.client();
    let mut a = registered(&client, A, "1").await;
    let mut b = registered(&client, B, "1").await;
    registry.freeze();
    registry.delete(A);
    registry.put(B, "foreign").unwrap();
    sleep(seconds(1)).await;
    assert_eq!((a.loss(), b.loss()), (None, None));
    registry.thaw();
    assert_eq!(soon(a.lost()).await, Lost::KeyDeleted);
    assert_eq!(soon(b.lost()).await, Lost::taken("foreign"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_answered_at_once_and_interrupts_the_watches() {
    let registry = Registry::new();
    let client = registry.client();
    let mut registration = registered(&client, A, "1").await;
    let mut watch = watch(&client).await;
    registry.refuse(Error::unavailable("no leader"));
    let refused = Instant::now();
    let error = client.get_entries(&hello()).await.unwrap_err();
    assert_eq!(error.to_string(), "the registry is unavailable: no leader");
    assert!(matches!(
        item(&mut watch).await,
        Err(WatchError::Interrupted(Error::Unavailable { .. }))
    ));
    assert_eq!(refused.elapsed(), seconds(0));
    sleep(TTL).await;
    assert!(registry.get(A).is_none(), "time goes on");
    assert_eq!(registration.loss(), None);
    registry.accept();
    assert_eq!(soon(registration.lost()).await, Lost::LeaseExpired);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_shorter_than_the_ttl_loses_no_lease() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "1").await;
    sleep(seconds(1)).await;
    registry.refuse(Error::unavailable("no leader"));
    sleep(TTL - seconds(2)).await;
    registry.accept();
    sleep(TTL * 2).await;
    assert_eq!(registration.loss(), None);
    assert!(registry.get(A).is_some());
}

/// faults rows 4 and 5
#[tokio::test(start_paused = true)]
async fn a_registry_that_comes_back_with_its_data_still_holds_the_leases() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "1").await;
    let mut watch = watch(&client).await;
    let resume = client.get_entries(&hello()).await.unwrap().revision;
    registry.kill();
    assert!(matches!(
        item(&mut watch).await,
        Err(WatchError::Interrupted(_))
    ));
    sleep(TTL * 3).await;
    registry.restart();
    sleep(TTL * 3).await;
    assert_eq!(registration.loss(), None);
    let mut watch = client.watch_prefix(&hello(), &resume).await.unwrap();
    registry.put(B, "1").unwrap();
    assert_eq!(changes(&mut watch).await, [format!("+{B}=1")]);
}

/// faults row 12
#[tokio::test(start_paused = true)]
async fn deregistering_is_bounded_and_done_when_the_registry_answers_again() {
    for refused in [false, true] {
        let registry = Registry::new();
        let client = registry.client();
        let mut registration = registered(&client, A, "1").await;
        let asked = Instant::now();
        match refused {
            true => registry.refuse(Error::unavailable("no leader")),
            false => registry.freeze(),
        }
        let done = client.deregister(&service(A, "1")).await.unwrap();
        assert_eq!(done, Deregistered::Unconfirmed);
        assert_eq!(asked.elapsed(), seconds(3));
        assert_eq!(soon(registration.lost()).await, Lost::Deregistered);
        assert!(registry.get(A).is_some());
        assert_eq!(client.lease_id(), None);
        registry.accept();
        registry.thaw();
        let confirmed = client.deregister(&service(A, "1")).await.unwrap();
        assert_eq!(confirmed, Deregistered::Removed);
        assert!(registry.get(A).is_none());
        assert!(registry.leases().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_cannot_pass_is_what_deregistering_answers() {
    let registry = Registry::new();
    let client = registry.client();
    let _registration = registered(&client, A, "1").await;
    registry.refuse(Error::PermissionDenied {
        message: "read only".into(),
        source: None,
    });
    let outcome = client.deregister(&service(A, "1")).await;
    assert!(
        matches!(outcome, Err(Error::PermissionDenied { .. })),
        "{outcome:?}"
    );
    registry.accept();
    sleep(seconds(1)).await;
    assert!(registry.get(A).is_none());
}

#[tokio::test(start_paused = true)]
async fn deregistering_goes_on_when_nobody_waits_for_it() {
    let registry = Registry::new();
    let client = registry.client();
    let _registration = registered(&client, A, "1").await;
    registry.delay(seconds(1));
    assert!(client.deregister(&service(A, "1")).now_or_never().is_none());
    assert!(registry.get(A).is_some());
    sleep(seconds(2)).await;
    assert!(registry.get(A).is_none());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_put_after_a_deregistration() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "1").await;
    registry.freeze();
    let (a, b) = (service(A, "2"), service(B, "2"));
    let mut register = client.register(&a);
    let mut reclaim = Box::pin(registration.reclaim("3"));
    let mut unrelated = client.register(&b);
    assert!((&mut register).now_or_never().is_none());
    assert!((&mut reclaim).now_or_never().is_none());
    assert!((&mut unrelated).now_or_never().is_none());
    let asked = client.deregister(&a).now_or_never();
    assert!(asked.is_none());
    registry.thaw();
    assert!(matches!(register.await, Err(Error::Closed)));
    assert!(matches!(reclaim.await, Err(Error::Closed)));
    let _b = unrelated.await.unwrap();
    sleep(seconds(1)).await;
    assert!(registry.get(A).is_none());
    assert!(registry.get(B).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_removal_leaves_what_is_registered_after_it_alone() {
    let registry = Registry::new();
    let client = registry.client();
    let _old = registered(&client, A, "old").await;
    registry.freeze();
    let done = client.deregister(&service(A, "old")).await.unwrap();
    assert_eq!(done, Deregistered::Unconfirmed);
    let thawed = async {
        sleep(seconds(1)).await;
        registry.thaw();
    };
    let (new, ()) = tokio::join!(registered(&client, A, "new"), thawed);
    sleep(TTL * 3).await;
    assert_eq!(value(&registry, A).unwrap(), "new");
    assert_eq!(new.loss(), None);
    assert_eq!(registry.leases(), [new.lease_id().clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_delay_slows_every_call() {
    let registry = Registry::new();
    let client = registry.client();
    registry.delay(seconds(1));
    let asked = Instant::now();
    let registration = registered(&client, A, "1").await;
    assert_eq!(asked.elapsed(), seconds(1));
    client.get_entries(&hello()).await.unwrap();
    assert_eq!(asked.elapsed(), seconds(2));
    client.deregister(&service(A, "1")).await.unwrap();
    assert_eq!(asked.elapsed(), seconds(3));
    registry.delay(seconds(5));
    let outcome = client.get_entries(&hello()).await;
    assert!(matches!(outcome, Err(Error::Timeout { .. })));
    drop(registration);
}
