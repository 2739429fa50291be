//! Entries that etcd would refuse. (faults row 21)

use crate::{LONG, client, in_time, service};
use futures::future::join_all;
use sd_core::{
    Client, Deregistered, Error, Invalid, Key, Reclaimed, Registrar, Registration, Service, Ttl,
};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE};
use std::time::Duration;

/// etcd's `--max-request-bytes` by default.
const LIMIT: usize = 3 * 512 * 1024;

/// A registrar that does not look at the value, which is no address here.
fn of_any_value(client: &EtcdClient, service: Service) -> Registrar {
    let registrar = Registrar::builder(client.clone(), service);
    registrar.without_codec().build()
}

/// faults row 21
#[tokio::test]
async fn what_etcd_would_refuse_is_refused_before_anything_is_sent() {
    let etcd = Etcd::start().await;
    let before = etcd.metrics().await;
    let client = client(etcd.endpoint());

    assert!(matches!(
        Service::new("", "10.0.0.1:80"),
        Err(Invalid::EmptyKey)
    ));
    assert!(matches!(Key::lease_suffixed(""), Err(Invalid::EmptyKey)));
    for ttl in [Duration::from_millis(1999), Duration::from_secs(86_401)] {
        let error = Ttl::new(ttl).unwrap_err();
        assert_eq!(error, Invalid::Ttl { given: ttl });
        assert!(error.to_string().contains("between 2 s and 24 h"));
    }
    for oversized in [
        service("/svc/a", 2).with_value(vec![b'x'; LIMIT]),
        service(&"k".repeat(LIMIT), 2),
    ] {
        let registrar = of_any_value(&client, oversized.clone());
        let error = client.register(&oversized).await.unwrap_err();
        let through_registrar = in_time(registrar.register()).await.unwrap_err();
        for error in [error, through_registrar] {
            let Error::Invalid(Invalid::TooLarge { size, limit, .. }) = error else {
                panic!("{error}");
            };
            assert!(size > limit && limit == LIMIT, "{size} of {limit}");
            let text = error.to_string();
            assert!(text.len() < 300 && text.contains("1572864"), "{text}");
        }
        let outcome = in_time(registrar.deregister()).await.unwrap();
        assert_eq!(outcome, Deregistered::NotOurs);
    }

    let after = etcd.metrics().await;
    assert_eq!(after, before, "nothing was sent");
    assert_eq!(etcd.client_connections(), 0);
}

/// faults row 21, for a service that is registered already.
#[tokio::test]
async fn a_new_value_that_etcd_would_refuse_leaves_the_old_one() {
    let etcd = Etcd::start().await;
    let client = client(etcd.endpoint());
    let registrar = of_any_value(&client, service("/svc/a", LONG));
    in_time(registrar.register()).await.unwrap();
    let before = etcd.metrics().await;

    let error = in_time(registrar.update(vec![b'x'; LIMIT]))
        .await
        .unwrap_err();

    assert!(matches!(error, Error::Invalid(Invalid::TooLarge { .. })));
    assert_eq!(etcd.metrics().await.since(&before).txns(), 0);
    assert_eq!(etcd.get("/svc/a").await.unwrap(), b"10.0.0.1:6");
    assert!(registrar.status().borrow().is_registered());
}

/// The largest entry under `key` that the client accepts.
async fn largest(client: &EtcdClient, key: &str) -> Service {
    let of = |bytes: usize| service(key, LONG).with_value(vec![b'x'; bytes]);
    let Err(Error::Invalid(Invalid::TooLarge { size, .. })) = client.register(&of(LIMIT)).await
    else {
        panic!("{LIMIT} bytes were let through");
    };
    let largest = LIMIT - (size - LIMIT);
    let one_more = client.register(&of(largest + 1)).await;
    assert!(matches!(one_more, Err(Error::Invalid(_))));
    of(largest)
}

async fn reclaim(registration: Registration, service: &Service) -> Registration {
    let value = service.value.clone();
    match in_time(registration.reclaim(value)).await.unwrap() {
        Reclaimed::Held(registration) => registration,
        taken @ Reclaimed::Taken { .. } => panic!("{taken:?}"),
    }
}

/// faults row 21, the other way round: etcd accepts every entry that the client accepts, however it
/// is written.
#[tokio::test]
async fn the_largest_entry_that_is_let_through_is_taken_by_etcd() {
    let etcd = Etcd::start().await;
    let client = client(etcd.endpoint());

    for key in ["/svc/short", &format!("/svc/{}", "l".repeat(100_000))] {
        let service = largest(&client, key).await;
        let registration = in_time(client.register(&service)).await.unwrap();
        // With a guard the request is longer: for an existing entry, and for an absent one.
        let registration = reclaim(registration, &service).await;
        etcd.revoke(etcd.leases().await[0]).await;
        let _held = reclaim(registration, &service).await;
        assert_eq!(etcd.get(key).await.unwrap().len(), service.value.len());
        let outcome = in_time(client.deregister(&service)).await.unwrap();
        assert_eq!(outcome, Deregistered::Removed);
    }

    let mut named_by_its_lease = largest(&client, "/svc/named").await;
    named_by_its_lease.key = Key::lease_suffixed("/svc/named").unwrap();
    let _held = in_time(client.register(&named_by_its_lease)).await.unwrap();

    // Several at once are several requests.
    let keys: Vec<String> = (0..4).map(|n| format!("/svc/{n}")).collect();
    let many = join_all(keys.iter().map(|key| largest(&client, key))).await;
    let held = join_all(many.iter().map(|service| client.register(service)));
    for registered in in_time(held).await {
        assert_eq!(registered.unwrap().loss(), None);
    }
}

/// faults row 21: everything that can be registered can be deregistered, however much at once.
#[tokio::test]
async fn long_keys_go_as_well_as_they_came() {
    let etcd = Etcd::start().await;
    // The size is tested here, not the time that a busy machine takes.
    let client = EtcdClient::builder([etcd.endpoint()])
        .deregister_timeout(PATIENCE)
        .build()
        .unwrap();
    let key = |n: usize| format!("/svc/{n:02}/{}", "l".repeat(100_000));
    let services: Vec<_> = (0..20).map(|n| service(&key(n), LONG)).collect();
    let staying = service("/svc/staying", LONG);
    let _stays = client.register(&staying).await.unwrap();
    let held = join_all(services.iter().map(|service| client.register(service))).await;
    assert!(held.iter().all(Result::is_ok), "{held:?}");

    let gone = join_all(services.iter().map(|service| client.deregister(service))).await;

    for outcome in gone {
        assert_eq!(outcome.unwrap(), Deregistered::Removed);
    }
    assert_eq!(etcd.keys("/svc/").await, ["/svc/staying"]);
}
