//! A registry that freezes, goes down, compacts its history, or comes back empty.

use crate::*;
use sd_core::{
    Client, Error, Gap, Health, Instancer, Lost, Prefix, Registrar, Trouble, WatchError,
};
use sd_tests::{PATIENCE, View, eventually};
use tokio::time::{sleep, timeout};

fn has_both(view: &View) -> bool {
    view.has(ADDRESS) && view.has(OTHER)
}

/// Awaits `fault`. Checks that both instances can be called all the time, and keep their endpoints.
async fn loses_nobody<O>(consumer: &Consumer, fault: impl Future<Output = O>) -> O {
    let look = async || {
        consumer.pick();
        consumer.view()
    };
    let outcome = sd_tests::throughout(fault, "both to call", look, has_both).await;
    assert_eq!(consumer.made(), 2, "the endpoints were kept");
    outcome
}

fn why_stale(consumer: &Consumer) -> Option<Trouble> {
    match consumer.instancer().state().unwrap().health() {
        Health::Stale { why, .. } => Some(why.clone()),
        _ => None,
    }
}

/// faults row 2
#[tokio::test(start_paused = true)]
async fn a_freeze_of_twice_the_ttl_costs_the_leases_and_no_consumer() {
    let registry = Registry::new();
    let (provider, other, consumer) = fleet(&registry).await;
    let old = registry.leases();
    let before = registry.calls();

    let fault = async {
        registry.freeze();
        sleep(2 * ttl().duration()).await;
        assert!(!consumer.view().live);
        let why = why_stale(&consumer);
        assert!(
            matches!(why, Some(Trouble::Watch(WatchError::Disrupted(_)))),
            "{why:?}"
        );
        assert!(
            provider.registrar().status().borrow().is_registered(),
            "silence is no loss"
        );
        let asked = registry.calls();
        let tries = asked.watches - before.watches;
        assert!((1..=10).contains(&tries), "{tries} watches tried in 14 s");
        assert_eq!(asked.lists, before.lists);
        assert_eq!(asked.keep_alives, before.keep_alives + 2, "one a lease");

        let thaw = Instant::now();
        registry.thaw();
        assert!(registry.entries().is_empty(), "all leases ran out");
        provider.stands_in(&registry).await;
        other.stands_in(&registry).await;
        // The row says seconds; the first attempt comes within a tenth.
        assert_within(millis(110), thaw);
        let live = consumer.turns_live().await;
        assert!(live - thaw <= LONGEST_PAUSE);
        consumer.settles_on(&[ADDRESS, OTHER]).await;
        assert_within(LONGEST_PAUSE + millis(110), thaw);
        sleep(2 * GRACE).await;
    };
    loses_nobody(&consumer, fault).await;

    consumer.settles_on(&[ADDRESS, OTHER]).await;
    let new = registry.leases();
    assert_eq!(new.len(), 2);
    assert!(new.iter().all(|lease| !old.contains(lease)));
    assert_eq!(registry.calls().reclaims, before.reclaims + 2);
    assert_eq!(registry.calls().lists, before.lists, "no gap");
    assert_eq!(registry.watchers(), 1);
}

/// faults row 3
#[tokio::test(start_paused = true)]
async fn a_freeze_of_less_than_half_the_ttl_is_seen_as_staleness_and_no_more() {
    let registry = Registry::new();
    let (provider, other, consumer) = fleet(&registry).await;
    let old = [
        provider.stands_in(&registry).await,
        other.stands_in(&registry).await,
    ];
    let before = (registry.revision(), registry.calls());

    let fault = async {
        let freeze = Instant::now();
        registry.freeze();
        consumer.sees("staleness", |view| !view.live).await;
        assert_within(seconds(2) + millis(10), freeze);
        sleep(millis(2900)).await;
        registry.thaw();
        assert_eq!(consumer.turns_live().await, Instant::now());
        consumer.settles_on(&[ADDRESS, OTHER]).await;
        sleep(2 * GRACE).await;
    };
    loses_nobody(&consumer, fault).await;

    assert_eq!(registry.leases(), old);
    assert_eq!(registry.revision(), before.0, "nothing was put");
    let asked = registry.calls();
    assert_eq!(
        (asked.lists, asked.watches),
        (before.1.lists, before.1.watches)
    );
    assert_eq!(
        (asked.registers, asked.reclaims),
        (before.1.registers, before.1.reclaims)
    );
}

/// Checks that nobody is affected by a registry that comes back with its data and leases.
async fn comes_back_with_its_data_after(down: Duration) {
    let registry = Registry::new();
    let (provider, other, consumer) = fleet(&registry).await;
    let old = registry.leases();
    let stands = (registry.get(KEY), registry.get(OTHER_KEY));
    let before = registry.calls();

    let fault = async {
        registry.kill();
        // Written by another client, which is faster after the restart.
        registry.put("/svc/c", "10.0.0.3:80").unwrap();
        sleep(down).await;
        assert!(!consumer.view().live);
        assert!(!consumer.view().has("10.0.0.3:80"));
        assert!(provider.registrar().status().borrow().is_registered());
        let tries = registry.calls().watches - before.watches;
        assert!(
            tries <= 6 + down.as_secs(),
            "{tries} watches tried in {down:?}"
        );
        let restart = Instant::now();
        registry.restart();
        consumer.settles_on(&[ADDRESS, OTHER, "10.0.0.3:80"]).await;
        assert_within(LONGEST_PAUSE + millis(10), restart);
        sleep(3 * ttl().duration()).await;
    };
    let look = async || {
        consumer.pick();
        consumer.view()
    };
    sd_tests::throughout(fault, "both to call", look, has_both).await;

    assert_eq!(registry.leases(), old, "kept, not replaced");
    assert_eq!((registry.get(KEY), registry.get(OTHER_KEY)), stands);
    provider.stands_in(&registry).await;
    other.stands_in(&registry).await;
    let asked = registry.calls();
    assert_eq!(asked.lists, before.lists, "resumed without a gap");
    assert_eq!(
        (asked.registers, asked.reclaims),
        (before.registers, before.reclaims)
    );
    assert_eq!(registry.watchers(), 1);
    assert_eq!(consumer.made(), 3);
}

/// faults row 4
#[tokio::test(start_paused = true)]
async fn a_restart_after_a_second_is_resumed_without_a_gap_and_the_lease_is_kept() {
    comes_back_with_its_data_after(seconds(1)).await;
}

/// faults row 5
#[tokio::test(start_paused = true)]
async fn a_restart_after_twice_the_ttl_finds_the_old_leases_and_keeps_them() {
    comes_back_with_its_data_after(2 * ttl().duration()).await;
}

/// faults row 5, with leases that expire: the registry keeps running, but cannot be reached.
#[tokio::test(start_paused = true)]
async fn a_registry_out_of_reach_for_twice_the_ttl_is_registered_with_anew() {
    let registry = Registry::new();
    let (provider, other, consumer) = fleet(&registry).await;
    let before = registry.calls();

    let fault = async {
        registry.refuse(Error::unavailable("no route"));
        sleep(2 * ttl().duration()).await;
        assert!(registry.entries().is_empty() && registry.leases().is_empty());
        let view = consumer.view();
        assert!(
            !view.live && view.held.is_empty(),
            "it cannot know: {view:?}"
        );
        let accept = Instant::now();
        registry.accept();
        provider.stands_in(&registry).await;
        other.stands_in(&registry).await;
        assert_within(LONGEST_DELAY, accept);
        consumer.turns_live().await;
        consumer.settles_on(&[ADDRESS, OTHER]).await;
        assert_within(LONGEST_DELAY, accept);
        sleep(2 * GRACE).await;
    };
    loses_nobody(&consumer, fault).await;

    assert_eq!(registered(&registry), [ADDRESS, OTHER]);
    assert_eq!(registry.leases().len(), 2);
    assert_eq!(registry.calls().lists, before.lists);
}

/// A registry that comes back empty after a second, with writes of `strangers`. Running providers
/// are back before they are removed, and a crashed one is removed after the grace period.
async fn comes_back_empty(strangers: impl Fn(&Registry)) {
    let registry = Registry::new();
    let (provider, other, consumer) = fleet(&registry).await;
    let crashed = Provider::in_memory(&registry, "/svc/c", "10.0.0.3:80", ttl()).await;
    consumer.settles_on(&[ADDRESS, OTHER, "10.0.0.3:80"]).await;
    let old = registry.leases();
    let before = registry.calls();

    let fault = async {
        registry.kill();
        crashed.client().crash();
        registry.rebuild_empty();
        strangers(&registry);
        sleep(seconds(1)).await;
        let restart = Instant::now();
        registry.restart();
        let back = async {
            provider.stands_in(&registry).await;
            other.stands_in(&registry).await;
            assert_within(millis(110), restart);
        };
        let (live, ()) = tokio::join!(consumer.turns_live(), back);
        let noticed = consumer.sees("its removal held", |view| view.held == ["/svc/c"]);
        assert!(noticed.await.has("10.0.0.3:80"));
        assert!(live - restart <= 2 * LONGEST_PAUSE);
        let state = consumer.instancer().state().unwrap();
        let why = state.held().next().map(|(_, held)| held.why.clone());
        assert!(
            matches!(why, Some(Trouble::Watch(WatchError::Interrupted(_)))),
            "the first of the troubles: {why:?}"
        );
        consumer.loses_at(live + GRACE, "10.0.0.3:80").await;
    };
    let look = async || {
        consumer.pick();
        consumer.view()
    };
    sd_tests::throughout(fault, "both to call", look, has_both).await;

    consumer.settles_on(&[ADDRESS, OTHER]).await;
    assert_eq!(consumer.made(), 3, "the endpoints were kept");
    assert_eq!(registry.calls().lists, before.lists + 1, "one list");
    assert!(registry.leases().iter().all(|lease| !old.contains(lease)));
    assert_eq!(registry.leases().len(), 2);
    assert_eq!(registry.watchers(), 1);
}

/// faults row 6
#[tokio::test(start_paused = true)]
async fn a_registry_that_comes_back_empty_is_filled_again_and_empties_nobody() {
    comes_back_empty(|_| {}).await;
}

/// faults row 6, with a revision beyond the known one.
#[tokio::test(start_paused = true)]
async fn a_registry_that_comes_back_as_somebody_elses_is_noticed_as_well() {
    comes_back_empty(|registry| {
        while registry.revision() < 1000 {
            registry.put("/strangers", "at work").unwrap();
        }
    })
    .await;
}

/// faults row 7
#[tokio::test(start_paused = true)]
async fn a_compaction_while_the_watch_was_down_is_one_list_and_a_diff() {
    let registry = Registry::new();
    let (_provider, _other, consumer) = fleet(&registry).await;
    registry.put("/svc/c", "10.0.0.3:80").unwrap();
    registry.put("/svc/d", "10.0.0.4:80").unwrap();
    let all = [ADDRESS, OTHER, "10.0.0.3:80", "10.0.0.4:80"];
    consumer.settles_on(&all).await;
    let before = registry.calls();

    let fault = async {
        registry.kill();
        sleep(seconds(1)).await;
        assert!(registry.delete("/svc/c"));
        registry.put("/svc/d", "10.0.0.5:80").unwrap();
        registry.put("/svc/e", "10.0.0.6:80").unwrap();
        registry.compact();
        let down = registry.calls();
        registry.restart();
        // Additions apply at once, removals after the grace period.
        let live = consumer.turns_live().await;
        let changed = |view: &View| view.has("10.0.0.6:80") && view.has("10.0.0.5:80");
        let view = consumer.sees("the changes", changed).await;
        assert_within(millis(20), live);
        assert_eq!(view.held, ["/svc/c"]);
        assert!(view.has("10.0.0.3:80"));
        assert!(!consumer.view().has("10.0.0.4:80"));
        consumer.loses_at(live + GRACE, "10.0.0.3:80").await;
        sleep(seconds(60)).await;
        down
    };
    let look = async || consumer.view();
    let down = sd_tests::throughout(fault, "both to call", look, has_both).await;

    let asked = registry.calls();
    assert_eq!(asked.lists, before.lists + 1, "one list");
    let watches = asked.watches - down.watches;
    assert_eq!(
        watches, 2,
        "one that found the gap, one that goes on: no spin"
    );
    let now = [ADDRESS, OTHER, "10.0.0.5:80", "10.0.0.6:80"];
    consumer.settles_on(&now).await;
    assert_eq!(consumer.made(), 6, "only what was new or changed was made");
    // And it does go on.
    assert!(registry.delete("/svc/e"));
    consumer.settles_on(&now[..3]).await;
}

/// Provider and consumer that start while the registry is away.
async fn starts_while(
    begin: impl Fn(&Registry),
    end: impl Fn(&Registry),
    is_right: impl Fn(&Error) -> bool,
) {
    let registry = Registry::new();
    begin(&registry);
    let client = registry.client();
    let provider = Registrar::new(client.clone(), service(KEY, ADDRESS));
    let instancer = Instancer::new(registry.client(), Prefix::new(PREFIX).unwrap());

    // With a deadline: an error, and no further attempts.
    let limited = Registrar::new(registry.client(), service(OTHER_KEY, OTHER));
    let start = Instant::now();
    let (refused, unready) = tokio::join!(
        limited.register_within(seconds(10)),
        instancer.ready_within(seconds(10)),
    );
    let (refused, unready) = (refused.unwrap_err(), unready.unwrap_err());
    assert!(is_right(&refused), "{refused:?}");
    assert!(is_right(&unready), "{unready:?}");
    assert!(start.elapsed() <= seconds(15) + millis(10));
    assert!(instancer.state().is_none(), "not known is not empty");
    sleep(seconds(10)).await;
    let gave_up = registry.calls();
    sleep(seconds(60)).await;
    assert_eq!(registry.calls().registers, gave_up.registers);

    // Without a deadline: attempts without end, but not in a hot loop.
    let asked = registry.calls();
    let minutes = seconds(600);
    let (waits, unready) = tokio::join!(
        timeout(minutes, provider.register()),
        timeout(minutes, instancer.ready()),
    );
    assert!(waits.is_err() && unready.is_err());
    let tries = registry.calls().registers - asked.registers;
    assert!(
        (80..=310).contains(&tries),
        "{tries} registrations in 600 s"
    );
    let tries = registry.calls().lists - asked.lists;
    assert!((110..=610).contains(&tries), "{tries} lists in 600 s");

    let up = Instant::now();
    end(&registry);
    let (registered, ready) = tokio::join!(provider.register(), instancer.ready());
    registered.unwrap();
    ready.unwrap();
    assert_within(LONGEST_DELAY, up);
    let sees = async || instancer.state().unwrap().instances().len();
    eventually(PATIENCE, "the provider", sees, |n| *n == 1).await;
    assert_eq!(registry.entries().len(), 1, "not the one that gave up");
    assert_eq!(registry.leases(), [client.lease_id().unwrap()]);
    assert_eq!(registry.watchers(), 1);
}

/// faults row 13
#[tokio::test(start_paused = true)]
async fn a_registry_that_is_not_there_at_the_start_is_waited_for() {
    starts_while(Registry::kill, Registry::restart, |error| {
        matches!(error, Error::Unavailable { .. })
    })
    .await;
}

/// faults row 13, with a registry that runs but does not answer.
#[tokio::test(start_paused = true)]
async fn a_registry_that_is_frozen_at_the_start_is_waited_for() {
    starts_while(Registry::freeze, Registry::thaw, |error| {
        matches!(error, Error::Timeout { .. })
    })
    .await;
}

/// faults row 6, for users of the client without the layers above.
#[tokio::test(start_paused = true)]
async fn a_rebuilt_registry_is_told_from_the_old_one_wherever_its_counter_stands() {
    for strangers in [0, 100] {
        let registry = Registry::new();
        let client = registry.client();
        let mut registration = client.register(&service(KEY, ADDRESS)).await.unwrap();
        let prefix = Prefix::new(PREFIX).unwrap();
        let known = client.get_entries(&prefix).await.unwrap().revision;
        registry.rebuild_empty();
        for _ in 0..strangers {
            registry.put("/strangers", "at work").unwrap();
        }
        let watch = client.watch_prefix(&prefix, &known).await;
        assert!(matches!(watch, Err(WatchError::Gap(Gap::Rebuilt(_)))));
        assert_eq!(registration.lost().await, Lost::LeaseExpired);
    }
}
