//! Registrations whose lease or key somebody else changes.

use crate::*;
use futures::future::join_all;
use sd_core::{Client, Deregistered, EndpointSource, Error, Invalid, Registrar, RegistrarStatus};
use sd_tests::{PATIENCE, eventually, throughout};
use tokio::time::{sleep, timeout};

/// Waits for the status through its channel, since it may have passed at the next poll.
async fn is_taken_by(provider: &Provider, value: &'static str) {
    let mut status = provider.registrar().status();
    let is_taken = |status: &RegistrarStatus| matches!(status, RegistrarStatus::Taken { value: new } if new == value);
    let taken = timeout(PATIENCE, status.wait_for(is_taken)).await;
    taken.expect("taken in time").expect("a registrar");
}

/// faults row 1
#[tokio::test(start_paused = true)]
async fn a_revoked_lease_is_replaced() {
    let registry = Registry::new();
    let (provider, other, consumer) = fleet(&registry).await;
    let lease = provider.stands_in(&registry).await;
    let untouched = registry.get(OTHER_KEY);
    let before = registry.calls();

    let start = Instant::now();
    assert!(registry.expire_lease(&lease));
    assert_eq!(registered(&registry), [OTHER]);
    let back = async {
        let new = provider.stands_in(&registry).await;
        assert_within(back_within(), start);
        consumer.settles_on(&[ADDRESS, OTHER]).await;
        new
    };
    let new = consumer.never_empty(back).await;

    assert_within(back_within(), start);
    assert_ne!(new, lease);
    assert_eq!(consumer.made(), 3, "it was seen to go, and to come back");
    assert_eq!(registry.leases(), [other.stands_in(&registry).await, new]);
    assert_eq!(registry.get(OTHER_KEY), untouched);
    let asked = registry.calls();
    assert_eq!(asked.lists, before.lists, "nothing was listed");
    assert_eq!(asked.registers, before.registers);
    assert_eq!(asked.reclaims, before.reclaims + 1);
    // The new lease is kept alive as the old one was.
    let stands = registry.get(KEY);
    let well = consumer.never_empty(sleep(10 * ttl().duration()));
    well.await;
    assert_eq!(registry.get(KEY), stands);
    assert_eq!(consumer.view().endpoints, [ADDRESS, OTHER]);
}

/// faults row 8
#[tokio::test(start_paused = true)]
async fn a_deleted_key_is_put_back_on_the_same_lease() {
    let registry = Registry::new();
    let (provider, _other, consumer) = fleet(&registry).await;
    let lease = provider.stands_in(&registry).await;
    let before = (registry.leases(), registry.calls());

    let start = Instant::now();
    assert!(registry.delete(KEY));
    assert_eq!(registered(&registry), [OTHER]);
    let back = async {
        consumer.settles_on(&[ADDRESS, OTHER]).await;
        provider.stands_in(&registry).await
    };
    let same = consumer.never_empty(back).await;

    assert_within(back_within(), start);
    assert_eq!(same, lease);
    assert_eq!(consumer.made(), 3, "it was seen to go, and to come back");
    assert_eq!(registry.leases(), before.0);
    assert_eq!(registry.calls().lists, before.1.lists, "nothing was listed");
    assert_eq!(registry.calls().reclaims, before.1.reclaims + 1);
}

/// faults row 9
#[tokio::test(start_paused = true)]
async fn an_overwritten_key_is_reported_and_left_alone_until_it_is_free() {
    let registry = Registry::new();
    let (provider, _other, consumer) = fleet(&registry).await;

    registry.put(KEY, "10.9.9.9:80").unwrap();
    let theirs = registry.get(KEY);
    is_taken_by(&provider, "10.9.9.9:80").await;
    consumer.settles_on(&["10.9.9.9:80", OTHER]).await;

    // It checks from time to time whether the key is free, without changing anything.
    let (before, revision) = (registry.calls(), registry.revision());
    consumer.never_empty(sleep(seconds(120))).await;
    assert_eq!(registry.revision(), revision, "no put");
    assert_eq!(registry.get(KEY), theirs);
    assert_eq!(registry.calls().registers, before.registers);
    let looks = registry.calls().reclaims - before.reclaims;
    assert!((30..=60).contains(&looks), "{looks} looks in 120 s");

    let free = Instant::now();
    assert!(registry.delete(KEY));
    consumer.never_empty(provider.stands_in(&registry)).await;
    assert_within(LONGEST_DELAY + millis(20), free);
    consumer.settles_on(&[ADDRESS, OTHER]).await;
}

/// faults row 9
#[tokio::test(start_paused = true)]
async fn an_overwritten_key_is_retaken_where_that_was_asked_for() {
    let registry = Registry::new();
    let consumer = consumer(&registry).await;
    let provider = Provider::in_memory_with(&registry, KEY, |client| {
        let builder = Registrar::builder(client, service(KEY, ADDRESS));
        builder.retake(true).build()
    });
    let provider = provider.await;
    consumer.settles_on(&[ADDRESS]).await;
    let lease = provider.stands_in(&registry).await;

    let start = Instant::now();
    let revision = registry.put(KEY, "10.9.9.9:80").unwrap();
    let back = async {
        is_taken_by(&provider, "10.9.9.9:80").await;
        let lease = provider.stands_in(&registry).await;
        consumer.settles_on(&[ADDRESS]).await;
        lease
    };
    assert_eq!(consumer.never_empty(back).await, lease);
    assert_within(back_within(), start);
    assert_eq!(registry.revision(), revision + 1, "one put");
}

/// faults row 9, if both providers retake the key.
#[tokio::test(start_paused = true)]
async fn two_who_both_insist_on_a_key_make_no_put_war() {
    let registry = Registry::new();
    let consumer = consumer(&registry).await;
    let insist = |client| {
        let builder = Registrar::builder(client, service(KEY, ADDRESS));
        builder.retake(true).build()
    };
    let _one = Provider::in_memory_with(&registry, KEY, insist).await;
    let _two = Provider::in_memory_with(&registry, KEY, insist).await;

    let revision = registry.revision();
    for _ in 0..3600 {
        sleep(seconds(1)).await;
        assert!(registry.get(KEY).is_some());
        assert_eq!(consumer.pick(), ADDRESS);
    }
    let puts = registry.revision() - revision;
    assert!((2..100).contains(&puts), "{puts} puts in an hour");
    consumer.settles_on(&[ADDRESS]).await;
    assert_eq!(consumer.made(), 1);
}

/// faults row 10
#[tokio::test(start_paused = true)]
async fn a_provider_that_restarts_outlives_its_old_lease() {
    let registry = Registry::new();
    let (crashed, other, consumer) = fleet(&registry).await;
    let old = crashed.stands_in(&registry).await;

    crashed.client().crash();
    drop(crashed);
    let restarted = provider(&registry).await;
    let new = restarted.stands_in(&registry).await;
    assert!(
        registry.leases().contains(&old),
        "the old lease still lives"
    );
    let stands = registry.get(KEY);
    let look = async || consumer.view();
    let expiry = sleep(ttl().duration() + seconds(1));
    let has_both = |view: &sd_tests::View| view.has(ADDRESS) && view.has(OTHER);
    throughout(expiry, "both", look, has_both).await;

    assert_eq!(registry.leases(), [other.stands_in(&registry).await, new]);
    assert_eq!(registry.get(KEY), stands);
    consumer.settles_on(&[ADDRESS, OTHER]).await;
    assert_eq!(consumer.made(), 2, "the endpoint was kept");
}

/// faults row 11
#[tokio::test(start_paused = true)]
async fn an_old_provider_leaves_its_successor_alone() {
    let registry = Registry::new();
    let (old, other, consumer) = fleet(&registry).await;
    let new = provider(&registry).await;
    let stands = registry.get(KEY);

    let outcome = consumer.never_empty(old.registrar().deregister()).await;
    assert_eq!(outcome.unwrap(), Deregistered::NotOurs);
    let later = sleep(3 * ttl().duration());
    consumer.never_empty(later).await;

    assert_eq!(registry.get(KEY), stands);
    let leases = [
        other.stands_in(&registry).await,
        new.stands_in(&registry).await,
    ];
    assert_eq!(registry.leases(), leases, "the old one was given back");
    assert_eq!(old.client().lease_id(), None);
    consumer.settles_on(&[ADDRESS, OTHER]).await;
    assert_eq!(consumer.made(), 2);
}

/// faults row 21
#[tokio::test(start_paused = true)]
async fn what_no_registry_takes_is_refused_before_anything_is_sent() {
    let registry = Registry::new();
    let (provider, _other, consumer) = fleet(&registry).await;
    let opaque = Registrar::builder(registry.client(), service("/svc/opaque", "x"))
        .without_codec()
        .build();
    opaque.register().await.unwrap();
    let before = (registry.calls(), registry.revision(), registry.leases());

    assert_eq!(Service::new("", ADDRESS).unwrap_err(), Invalid::EmptyKey);
    for secs in [1, 24 * 60 * 60 + 1] {
        let refused = Ttl::from_secs(secs).unwrap_err();
        let given = seconds(secs);
        assert_eq!(refused, Invalid::Ttl { given });
    }
    let client = registry.client();
    let large = Service::new("/svc/large", vec![b'x'; 2 * 1024 * 1024]).unwrap();
    let registrar = Registrar::builder(client, large).without_codec().build();
    let start = Instant::now();
    let refused = registrar.register().await.unwrap_err();
    assert!(
        matches!(&refused, Error::Invalid(Invalid::TooLarge { key, .. }) if key == "/svc/large"),
        "{refused:?}"
    );
    let status = registrar.status().borrow();
    assert!(matches!(*status, RegistrarStatus::Failed(_)), "{status:?}");
    // An update is refused too, and the old value stays.
    let update = opaque.update(vec![b'x'; 2 * 1024 * 1024]).await;
    let Err(Error::Invalid(Invalid::TooLarge { .. })) = update else {
        panic!("{update:?}");
    };
    assert_eq!(registry.get("/svc/opaque").unwrap().value, "x");

    assert_eq!(start.elapsed(), Duration::ZERO, "no retry");
    let after = (registry.calls(), registry.revision(), registry.leases());
    assert_eq!(after, before, "nothing was sent");
    provider.stands_in(&registry).await;
    consumer.settles_on(&[ADDRESS, OTHER]).await;
}

/// faults row 25
#[tokio::test(start_paused = true)]
async fn a_thousand_registrations_that_are_lost_at_once_come_back_spread_out() {
    const MANY: usize = 1000;
    let registry = Registry::new();
    let _other = other(&registry).await;
    let client = registry.client();
    let provide = |n| {
        let address = format!("10.0.1.1:{}", n + 1);
        let service = Service::new(format!("/svc/{n:04}"), address).unwrap();
        Registrar::new(client.clone(), service.with_ttl(ttl()))
    };
    let registrars: Vec<_> = (0..MANY).map(provide).collect();
    for registered in join_all(registrars.iter().map(Registrar::register)).await {
        registered.unwrap();
    }
    let consumer = consumer(&registry).await;
    let sees = async || consumer.endpointer().endpoints().len();
    eventually(PATIENCE, "all", sees, |n| *n == MANY + 1).await;
    let lease = client.lease_id().unwrap();
    let before = registry.calls();

    let start = Instant::now();
    assert!(registry.expire_lease(&lease));
    let mut back = vec![registry.entries().len() - 1];
    assert_eq!(back, [0]);
    let step = async {
        while back.last() < Some(&MANY) {
            sleep(millis(10)).await;
            back.push(registry.entries().len() - 1);
        }
    };
    let somebody = throughout(step, "somebody", sees, |n| *n > 0);
    somebody.await;

    assert_within(back_within(), start);
    let most_at_once = back.windows(2).map(|w| w[1] - w[0]).max();
    assert!(most_at_once < Some(MANY / 4), "spread out: {back:?}");
    assert_eq!(registry.leases().len(), 2, "all on one lease again");
    assert_ne!(client.lease_id(), Some(lease));
    assert_eq!(registry.calls().reclaims, before.reclaims + MANY as u64);
    assert_eq!(registry.calls().registers, before.registers);
    assert_eq!(registry.calls().lists, before.lists);
    eventually(PATIENCE, "all again", sees, |n| *n == MANY + 1).await;
}
