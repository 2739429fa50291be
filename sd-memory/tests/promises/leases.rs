//! One lease for many services, kept alive, and its end.

use crate::{A, B, TTL, changes, hello, registered, seconds, service, soon, watch};
use sd_core::{Client, Lost, Service, Ttl};
use sd_memory::Registry;

#[tokio::test(start_paused = true)]
async fn one_lease_serves_a_thousand_services() {
    let registry = Registry::new();
    let client = registry.client();
    let mut registrations = Vec::new();
    for i in 0..1_000 {
        registrations.push(registered(&client, &format!("/services/hello/{i}"), "x").await);
    }
    assert_eq!(registry.leases().len(), 1);
    let keys = registry.lease(&client.lease_id().unwrap()).unwrap().keys;
    assert_eq!(keys.len(), 1_000);
    registrations.truncate(1);
    assert_eq!(registry.entries().len(), 1);
    assert_eq!(registry.leases().len(), 1);
    registrations.clear();
    assert!(registry.leases().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_ttl_has_a_lease_of_its_own() {
    let registry = Registry::new();
    let client = registry.client();
    let first = registered(&client, A, "1").await;
    let longer = service(B, "1").with_ttl(Ttl::from_secs(60).unwrap());
    let second = client.register(&longer).await.unwrap();
    assert_eq!(registry.leases().len(), 2);
    assert_eq!(client.lease_id().as_ref(), Some(second.lease_id()));
    drop(second);
    assert_eq!(client.lease_id().as_ref(), Some(first.lease_id()));
    assert_eq!(registry.leases(), [first.lease_id().clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_moves_to_another_ttl_leaves_no_lease_behind() {
    let registry = Registry::new();
    let client = registry.client();
    let _first = registered(&client, A, "1").await;
    let longer = service(A, "2").with_ttl(Ttl::from_secs(60).unwrap());
    let second = client.register(&longer).await.unwrap();
    assert_eq!(registry.leases(), [second.lease_id().clone()]);
    assert!(registry.get(A).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_alive_every_third_of_its_ttl() {
    let registry = Registry::new();
    let client = registry.client();
    let _a = registered(&client, A, "1").await;
    let _b = registered(&client, B, "1").await;
    tokio::time::sleep(TTL * 10 + seconds(1)).await;
    assert_eq!(registry.calls().keep_alives, 30);
    assert_eq!(registry.entries().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_services_of_a_crashed_client_go_together_when_its_lease_ends() {
    let registry = Registry::new();
    let (provider, consumer) = (registry.client(), registry.client());
    let _a = registered(&provider, A, "1").await;
    let _b = registered(&provider, B, "1").await;
    let mut watch = watch(&consumer).await;
    let crashed = tokio::time::Instant::now();
    provider.crash();
    assert_eq!(
        changes(&mut watch).await,
        [format!("-{A}"), format!("-{B}")]
    );
    assert_eq!(crashed.elapsed(), TTL);
    assert!(
        consumer
            .get_entries(&hello())
            .await
            .unwrap()
            .entries
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_without_a_key_is_told() {
    let registry = Registry::new();
    let client = registry.client();
    let mut registration = registered(&client, A, "1").await;
    registry.delete(A);
    assert_eq!(soon(registration.lost()).await, Lost::KeyDeleted);
    registry.expire_lease(registration.lease_id());
    // Sooner than the next keep-alive would find out.
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(client.lease_id(), None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_registry_that_answers_within_the_ttl_loses_no_lease() {
    let registry = Registry::new();
    let client = registry.client();
    let registration = registered(&client, A, "1").await;
    registry.delay(TTL / 2);
    tokio::time::sleep(TTL * 10).await;
    assert_eq!(registration.loss(), None);
    registry.delay(TTL);
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(registration.loss(), Some(Lost::LeaseExpired));
}

#[test]
fn a_registry_outlives_the_runtime_that_its_leases_were_granted_on() {
    let registry = Registry::new();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let client = registry.client();
    let forgotten = runtime().block_on(registered(&client, A, "1"));
    client.crash();
    runtime().block_on(async {
        let client = registry.client();
        let registration = client
            .register(&Service::new(B, "1").unwrap())
            .await
            .unwrap();
        tokio::time::sleep(seconds(60)).await;
        assert_eq!(registry.leases(), [registration.lease_id().clone()]);
    });
    drop(forgotten);
}
