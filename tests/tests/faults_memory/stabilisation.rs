//! How a consumer shows held removals: which, since when, and why.

use crate::*;
use sd_core::{Error, Health, Registrar, Trouble, WatchError};
use sd_tests::View;
use tokio::time::sleep;

/// The held removal in an event: the key, since when, and the trouble.
fn held(consumer: &Consumer) -> Option<(String, Instant, Trouble)> {
    let state = consumer.instancer().state().unwrap();
    assert!(state.held().len() <= 1);
    let mut all = state.held();
    all.next()
        .map(|(key, held)| (key.to_string(), held.since, held.why.clone()))
}

fn is_live(consumer: &Consumer) -> bool {
    consumer.view().live
}

fn is_disruption(why: &Trouble) -> bool {
    matches!(
        why,
        Trouble::Watch(WatchError::Disrupted(Error::Timeout { .. }))
    )
}

/// Freezes the registry for `length`. Returns the time of the thaw.
async fn freeze(registry: &Registry, length: Duration) -> Instant {
    registry.freeze();
    sleep(length).await;
    registry.thaw();
    Instant::now()
}

/// Removals after registry faults follow the grace period; each state of it is visible.
#[tokio::test(start_paused = true)]
async fn a_removal_after_trouble_is_held_and_its_state_is_told() {
    let registry = Registry::new();
    let (_provider, _other, consumer) = fleet(&registry).await;
    registry.put("/svc/c", "10.0.0.3:80").unwrap();
    registry.put("/svc/d", "10.0.0.4:80").unwrap();
    let all = [ADDRESS, OTHER, "10.0.0.3:80", "10.0.0.4:80"];
    consumer.settles_on(&all).await;

    let fault = async {
        // In trouble: stale, since the moment of the disruption, and why.
        let start = Instant::now();
        registry.freeze();
        sleep(millis(1999)).await;
        assert!(is_live(&consumer));
        sleep(millis(2)).await;
        match consumer.instancer().state().unwrap().health() {
            Health::Stale { since, why, .. } => {
                assert_eq!(*since - start, seconds(2));
                assert!(is_disruption(why), "{why:?}");
            }
            health => panic!("{health:?}"),
        }
        assert!(registry.delete("/svc/c"));
        assert!(held(&consumer).is_none(), "not known yet");
        sleep(seconds(2)).await;

        // Healing: live, and the removal is held since it was reported, because of the disruption.
        let thaw = Instant::now();
        registry.thaw();
        sleep(millis(1)).await;
        assert!(is_live(&consumer));
        let (key, since, why) = held(&consumer).unwrap();
        assert_eq!((key.as_str(), since), ("/svc/c", thaw));
        assert!(is_disruption(&why), "{why:?}");
        assert!(consumer.view().has("10.0.0.3:80"), "still to be called");

        // A removal that is reported later in the grace period is held since then, until the same
        // end.
        sleep(seconds(5)).await;
        registry.put("/svc/e", "10.0.0.5:80").unwrap();
        sleep(millis(1)).await;
        assert!(consumer.view().has("10.0.0.5:80"), "additions never wait");
        assert!(registry.delete("/svc/e"));
        sleep(millis(1)).await;
        assert!(
            !consumer.view().has("10.0.0.5:80"),
            "it came after the trouble"
        );
        assert!(registry.delete("/svc/d"));
        let told = Instant::now();
        sleep(millis(1)).await;
        let state = consumer.instancer().state().unwrap();
        let since: Vec<_> = state.held().map(|(_, held)| held.since).collect();
        assert_eq!(since, [thaw, told]);

        // Settled: both apply at the end of the grace period, and later removals apply at once.
        sleep(thaw + GRACE - Instant::now() - millis(1)).await;
        assert_eq!(consumer.view().held, ["/svc/c", "/svc/d"]);
        consumer.loses_at(thaw + GRACE, "10.0.0.3:80").await;
        assert_eq!(consumer.view().endpoints, [ADDRESS, OTHER]);
        registry.put("/svc/c", "10.0.0.3:80").unwrap();
        consumer.settles_on(&[ADDRESS, OTHER, "10.0.0.3:80"]).await;
        assert!(registry.delete("/svc/c"));
        sleep(millis(1)).await;
        assert_eq!(consumer.view().endpoints, [ADDRESS, OTHER]);
        assert!(held(&consumer).is_none());
    };
    consumer.never_empty(fault).await;
}

/// New trouble before the end of the grace period starts it again. A held removal keeps its time
/// and reason.
#[tokio::test(start_paused = true)]
async fn trouble_within_the_grace_period_starts_it_anew() {
    let registry = Registry::new();
    let (_provider, _other, consumer) = fleet(&registry).await;
    registry.put("/svc/c", "10.0.0.3:80").unwrap();
    consumer.settles_on(&[ADDRESS, OTHER, "10.0.0.3:80"]).await;

    let fault = async {
        registry.delete("/svc/none");
        registry.freeze();
        sleep(seconds(3)).await;
        assert!(registry.delete("/svc/c"));
        registry.thaw();
        let first = Instant::now();
        sleep(GRACE - seconds(1)).await;
        registry.disconnect_watchers();
        let live = async {
            consumer.sees("trouble", |view| !view.live).await;
            consumer.turns_live().await
        };
        let again = live.await;
        assert!(again > first + GRACE - seconds(1));
        let (key, since, why) = held(&consumer).unwrap();
        assert_eq!((key.as_str(), since), ("/svc/c", first));
        assert!(is_disruption(&why), "{why:?}");
        consumer.loses_at(again + GRACE, "10.0.0.3:80").await;
    };
    consumer.never_empty(fault).await;
    consumer.settles_on(&[ADDRESS, OTHER]).await;
}

/// During an endless outage, removals are held without end.
#[tokio::test(start_paused = true)]
async fn nobody_goes_while_the_trouble_lasts() {
    let registry = Registry::new();
    let (provider, _other, consumer) = fleet(&registry).await;
    provider.client().crash();
    let minutes = freeze(&registry, 8 * GRACE);
    let look = async || consumer.view();
    let has_both = |view: &View| view.has(ADDRESS) && view.has(OTHER);
    sd_tests::throughout(minutes, "both", look, has_both).await;
    let live = consumer.turns_live().await;
    consumer.loses_at(live + GRACE, ADDRESS).await;
    consumer.settles_on(&[OTHER]).await;
}

/// An instance that is put back is no longer held, and keeps its endpoint.
#[tokio::test(start_paused = true)]
async fn who_comes_back_within_the_grace_period_was_never_away() {
    let registry = Registry::new();
    let (provider, _other, consumer) = fleet(&registry).await;
    let fault = async {
        freeze(&registry, seconds(4)).await;
        provider.client().crash();
        // Its lease was last renewed before the freeze.
        consumer.sees("it held", |view| view.held == [KEY]).await;
        let restarted = crate::provider(&registry).await;
        consumer.settles_on(&[ADDRESS, OTHER]).await;
        sleep(2 * GRACE).await;
        restarted
    };
    let look = async || consumer.view();
    let has_both = |view: &View| view.has(ADDRESS) && view.has(OTHER);
    let restarted = sd_tests::throughout(fault, "both", look, has_both).await;
    restarted.stands_in(&registry).await;
    assert_eq!(consumer.made(), 2);
}

/// The removal of a draining instance is never held, whatever happened to the registry.
#[tokio::test(start_paused = true)]
async fn who_announces_that_it_goes_is_never_held() {
    let registry = Registry::new();
    let consumer = consumer(&registry).await;
    let provider = Provider::in_memory_with(&registry, KEY, |client| {
        Registrar::new(client, service(KEY, r#"{"address":"10.0.0.1:80"}"#))
    });
    let (provider, _other) = tokio::join!(provider, other(&registry));
    consumer.settles_on(&[ADDRESS, OTHER]).await;
    let fault = async {
        freeze(&registry, seconds(4)).await;
        provider.registrar().deregister().await.unwrap();
        sleep(millis(1)).await;
        let view = consumer.view();
        assert!(view.held.is_empty() && !view.has(ADDRESS), "{view:?}");
    };
    consumer.never_empty(fault).await;
    consumer.settles_on(&[OTHER]).await;
}

/// With a grace period of zero nothing is held: removals apply at once.
#[tokio::test(start_paused = true)]
async fn a_grace_period_of_zero_turns_it_off() {
    let registry = Registry::new();
    let consumer = Consumer::in_memory(&registry, PREFIX, Duration::ZERO).await;
    let (_provider, _other) = (provider(&registry).await, other(&registry).await);
    registry.put("/svc/c", "10.0.0.3:80").unwrap();
    consumer.settles_on(&[ADDRESS, OTHER, "10.0.0.3:80"]).await;
    let fault = async {
        registry.freeze();
        sleep(seconds(4)).await;
        assert!(registry.delete("/svc/c"));
        assert!(consumer.view().has("10.0.0.3:80"), "not known yet");
        registry.thaw();
        sleep(millis(1)).await;
        assert_eq!(consumer.view().endpoints, [ADDRESS, OTHER]);
        assert!(held(&consumer).is_none());
    };
    consumer.never_empty(fault).await;
}
