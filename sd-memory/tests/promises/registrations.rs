//! Taking, losing and putting back a key.

use crate::{A, B, TTL, registered, seconds, service, soon, value};
use sd_core::{
    Client, Deregistered, Error, Invalid, Key, Lost, Owner, Reclaimed, Registration, Service, Ttl,
};
use sd_memory::{ClientOptions, Registry};

async fn reclaimed(registration: &Registration, value: &'static str) -> Registration {
    match registration.reclaim(value).await.unwrap() {
        Reclaimed::Held(registration) => registration,
        Reclaimed::Taken { value, .. } => panic!("taken by {value:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_stands_on_a_lease_until_it_is_deregistered() {
    let registry = Registry::new();
    let client = registry.client();
    assert_eq!(client.lease_id(), None);
    let mut registration = registered(&client, A, "1").await;
    assert_eq!(
        registry.get(A).unwrap().lease.as_ref(),
        Some(registration.lease_id())
    );
    assert_eq!(client.lease_id().as_ref(), Some(registration.lease_id()));
    tokio::time::sleep(seconds(600)).await;
    assert_eq!(registration.loss(), None);

    let done = client.deregister(&service(A, "1")).await.unwrap();
    assert_eq!(done, Deregistered::Removed);
    assert_eq!(soon(registration.lost()).await, Lost::Deregistered);
    assert!(registry.entries().is_empty());
    assert!(registry.leases().is_empty());
    assert_eq!(client.lease_id(), None);
    let again = client.deregister(&service(A, "1")).await.unwrap();
    assert_eq!(again, Deregistered::NotOurs);
}

#[tokio::test(start_paused = true)]
async fn registering_takes_the_key_over_whoever_holds_it() {
    let registry = Registry::new();
    let (old, new) = (registry.client(), registry.client());
    registry.put(A, "operator").unwrap();
    let mut first = registered(&old, A, "old").await;
    assert_eq!(value(&registry, A).unwrap(), "old");
    let second = registered(&new, A, "new").await;
    assert_eq!(value(&registry, A).unwrap(), "new");
    assert_eq!(soon(first.lost()).await, Lost::taken("new"));
    assert_eq!(second.loss(), None);
}

#[tokio::test(start_paused = true)]
async fn each_loss_is_told_for_what_it_is() {
    let registry = Registry::new();
    let client = registry.client();

    let mut registration = registered(&client, A, "1").await;
    assert!(registry.expire_lease(registration.lease_id()));
    assert_eq!(soon(registration.lost()).await, Lost::LeaseExpired);
    assert_eq!(client.lease_id(), None);

    let mut registration = registered(&client, A, "2").await;
    assert!(registry.delete(A));
    assert_eq!(soon(registration.lost()).await, Lost::KeyDeleted);

    let mut registration = registered(&client, A, "3").await;
    registry.put(A, "foreign").unwrap();
    let taken = Lost::taken("foreign");
    assert_eq!(soon(registration.lost()).await, taken);

    let mut registration = registered(&client, A, "4").await;
    let mut newest = registered(&client, A, "5").await;
    assert_eq!(registration.loss(), Some(Lost::Superseded));
    assert_eq!(soon(registration.lost()).await, Lost::Superseded);
    assert_eq!(newest.loss(), None);

    client.close().await;
    assert_eq!(soon(newest.lost()).await, Lost::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_though_its_history_is_compacted() {
    let registry = Registry::with_history(2);
    let client = registry.client();
    let mut a = registered(&client, A, "1").await;
    let b = registered(&client, B, "1").await;
    registry.delete(A);
    for _ in 0..10 {
        registry.put("/elsewhere", "x").unwrap();
    }
    assert_eq!(soon(a.lost()).await, Lost::KeyDeleted);
    assert_eq!(b.loss(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_put_back_on_the_lease_if_that_lives_and_on_a_new_one_if_not() {
    let registry = Registry::new();
    let client = registry.client();
    let mut lost = registered(&client, A, "1").await;
    registry.delete(A);
    soon(lost.lost()).await;
    let mut back = reclaimed(&lost, "2").await;
    assert_eq!(back.lease_id(), lost.lease_id());
    drop(lost);
    assert_eq!(value(&registry, A).unwrap(), "2");

    registry.expire_lease(back.lease_id());
    soon(back.lost()).await;
    let again = reclaimed(&back, "3").await;
    assert_ne!(again.lease_id(), back.lease_id());
    drop(back);
    assert_eq!(value(&registry, A).unwrap(), "3");
    assert_eq!(registry.leases(), [again.lease_id().clone()]);
    tokio::time::sleep(seconds(600)).await;
    assert_eq!(again.loss(), None);
}

#[tokio::test(start_paused = true)]
async fn reclaiming_what_is_held_changes_its_value() {
    let registry = Registry::new();
    let client = registry.client();
    let first = registered(&client, A, "1").await;
    let second = reclaimed(&first, "2").await;
    assert_eq!(first.loss(), Some(Lost::Superseded));
    drop(first);
    assert_eq!(value(&registry, A).unwrap(), "2");
    assert_eq!(second.loss(), None);
}

#[tokio::test(start_paused = true)]
async fn reclaiming_writes_nothing_where_somebody_else_holds_the_key() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "mine").await;
    let lease = registration.lease_id().clone();
    let taken = async || match registration.reclaim("again").await.unwrap() {
        Reclaimed::Taken { value, .. } => value,
        Reclaimed::Held(_) => panic!("took the key from its new owner"),
    };

    registry.put(A, "foreign").unwrap();
    let before = registry.revision();
    assert_eq!(taken().await, "foreign");
    registry.expire_lease(&lease);
    assert_eq!(taken().await, "foreign");
    assert_eq!(registry.revision(), before);
    assert!(registry.leases().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_same_value_put_by_somebody_else_is_not_ours() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "same").await;
    registry.put(A, "same").unwrap();
    let outcome = registration.reclaim("same").await.unwrap();
    assert!(matches!(outcome, Reclaimed::Taken { .. }));
}

/// faults row 10
#[tokio::test(start_paused = true)]
async fn a_restarted_provider_outlives_the_lease_of_its_crashed_self() {
    let registry = Registry::new();
    let crashed = registry.client();
    let _old = registered(&crashed, A, "old").await;
    crashed.crash();
    let restarted = registry.client();
    let registration = registered(&restarted, A, "new").await;
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(value(&registry, A).unwrap(), "new");
    assert_eq!(registration.loss(), None);
    assert_eq!(registry.leases(), [registration.lease_id().clone()]);
}

/// faults row 11
#[tokio::test(start_paused = true)]
async fn deregistering_leaves_a_successor_alone() {
    let registry = Registry::new();
    let (old, new) = (registry.client(), registry.client());
    let _predecessor = registered(&old, A, "old").await;
    let successor = registered(&new, A, "new").await;
    let done = old.deregister(&service(A, "old")).await.unwrap();
    assert_eq!(done, Deregistered::NotOurs);
    assert_eq!(value(&registry, A).unwrap(), "new");
    assert_eq!(registry.leases(), [successor.lease_id().clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_registration_removes_its_entry_and_no_other() {
    let registry = Registry::new();
    let client = registry.client();
    drop(registered(&client, A, "1").await);
    assert!(registry.entries().is_empty());
    assert!(registry.leases().is_empty());

    let superseded = registered(&client, A, "2").await;
    let _current = registered(&client, A, "3").await;
    drop(superseded);
    assert_eq!(value(&registry, A).unwrap(), "3");

    let taken = registered(&client, B, "4").await;
    registry.put(B, "foreign").unwrap();
    drop(taken);
    assert_eq!(value(&registry, B).unwrap(), "foreign");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_registration_removes_its_entry_when_the_registry_answers_again() {
    let registry = Registry::new();
    let client = registry.client();
    let _stays = registered(&client, B, "1").await;
    let registration = registered(&client, A, "1").await;
    registry.freeze();
    drop(registration);
    assert!(registry.get(A).is_some());
    registry.thaw();
    tokio::time::sleep(seconds(1)).await;
    assert!(registry.get(A).is_none());
    assert!(registry.get(B).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_key_may_end_in_its_lease() {
    let registry = Registry::new();
    let client = registry.client();
    let service = Service::new(Key::lease_suffixed("Hello").unwrap(), "1").unwrap();
    let mut registration = client.register(&service).await.unwrap();
    let key = format!("Hello{}", registration.lease_id());
    assert_eq!(registration.key().as_str(), key);
    assert!(registry.get(&key).is_some());

    registry.expire_lease(registration.lease_id());
    soon(registration.lost()).await;
    let back = reclaimed(&registration, "2").await;
    assert_eq!(back.key().as_str(), format!("Hello{}", back.lease_id()));
    assert_ne!(back.key(), registration.key());
    drop(registration);

    // With another TTL it is on another lease and has another key; the old key is gone.
    let longer = service.with_ttl(Ttl::from_secs(60).unwrap());
    let moved = client.register(&longer).await.unwrap();
    assert_eq!(back.loss(), Some(Lost::Superseded));
    let keys: Vec<_> = registry.entries().into_iter().map(|e| e.key).collect();
    assert_eq!(keys, [moved.key().clone()]);
    assert_eq!(registry.leases(), [moved.lease_id().clone()]);
}

/// faults row 21
#[tokio::test(start_paused = true)]
async fn what_etcd_would_refuse_is_refused_before_anything_happens() {
    let registry = Registry::new();
    let limit = A.len() + 10;
    let client = registry.client_with(ClientOptions::default().with_request_limit(limit));
    let fits = client.register(&service(A, "0123456789")).await.unwrap();
    let calls = registry.calls();
    let too_large = Error::Invalid(Invalid::TooLarge {
        key: A.into(),
        size: limit + 1,
        limit,
    });
    let refused = client.register(&service(A, "0123456789+")).await;
    assert_eq!(refused.unwrap_err().to_string(), too_large.to_string());
    let refused = fits.reclaim("0123456789+").await;
    assert_eq!(refused.unwrap_err().to_string(), too_large.to_string());
    assert_eq!(registry.calls(), calls);
}

/// Two parts of one program, with an owner each, that register the same key on one client.
fn reload() -> [Service; 2] {
    ["1", "2"].map(|value| service(A, value).owned_by(Owner::new()))
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_superseded_removes_nothing() {
    let registry = Registry::new();
    let client = registry.client();
    let [old, new] = reload();
    let before = client.register(&old).await.unwrap();
    let after = client.register(&new).await.unwrap();

    let removed = client.deregister(&old).await.unwrap();
    drop(before);
    assert_eq!(removed, Deregistered::NotOurs);
    assert_eq!(
        (after.loss(), value(&registry, A).as_deref()),
        (None, Some("2"))
    );
    let removed = client.deregister(&new).await.unwrap();
    assert_eq!(removed, Deregistered::Removed);
    assert_eq!(registry.leases(), []);
}

/// The old one is told to go while the registry is silent, the new one waits for it.
#[tokio::test(start_paused = true)]
async fn a_deregistration_that_waits_leaves_a_successor_that_waits_alone() {
    for new_first in [true, false] {
        let registry = Registry::new();
        let patient = ClientOptions::default().with_request_timeout(seconds(60));
        let client = registry.client_with(patient);
        let [old, new] = reload();
        let _before = client.register(&old).await.unwrap();
        registry.freeze();
        let (registering, removing) = (client.register(&new), client.deregister(&old));
        let thaw = async {
            tokio::time::sleep(seconds(1)).await;
            registry.thaw();
        };
        let after = match new_first {
            true => tokio::join!(registering, removing, thaw).0,
            false => tokio::join!(removing, registering, thaw).1,
        };
        let after = after.unwrap();
        tokio::time::sleep(2 * TTL).await;
        assert_eq!(
            (after.loss(), value(&registry, A).as_deref()),
            (None, Some("2"))
        );
        assert_eq!(registry.leases(), [after.lease_id().clone()]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_superseded_registration_is_not_put_back_beside_its_successor() {
    let registry = Registry::new();
    let client = registry.client();
    let [old, new] = reload();
    let before = client.register(&old).await.unwrap();
    let mut after = client.register(&new).await.unwrap();
    registry.delete(A);
    assert_eq!(soon(after.lost()).await, Lost::KeyDeleted);

    assert!(matches!(before.reclaim("1").await, Err(Error::Superseded)));
    assert_eq!(value(&registry, A), None);
    assert_eq!(reclaimed(&after, "2").await.loss(), None);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_waits_is_its_owners_alone() {
    let registry = Registry::new();
    let client = registry.client();
    let [old, new] = reload();
    let _before = client.register(&old).await.unwrap();
    registry.freeze();
    let mut outcomes = Vec::new();
    for service in [&old, &new, &old, &service(A, "1")] {
        outcomes.push(client.deregister(service).await.unwrap());
    }
    let expected = [
        Deregistered::Unconfirmed,
        Deregistered::NotOurs,
        Deregistered::Unconfirmed,
        Deregistered::Unconfirmed,
    ];
    assert_eq!(outcomes, expected);
    registry.thaw();
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(
        client.deregister(&old).await.unwrap(),
        Deregistered::NotOurs
    );
    assert_eq!(value(&registry, A), None);
}
