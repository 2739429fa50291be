//! Registrations when etcd or a provider is frozen for a while.

use sd_core::{Registrar, RegistrarStatus, Service, Ttl};
use sd_tests::{Consumer, Etcd, PATIENCE, Provider, RemoteProvider, View, eventually, throughout};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";

fn both(view: &View) -> bool {
    view.has(A) && view.has(B)
}

/// faults row 2
#[tokio::test]
async fn a_freeze_of_two_ttls_takes_nobody_from_consumers_and_all_providers_come_back() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let a = Provider::start(etcd.endpoint(), "/svc/a", A).await;
    let b = Provider::start(etcd.endpoint(), "/svc/b", B).await;
    consumer.settles_on(&[A, B]).await;
    let leases = [a.stands(&etcd).await, b.stands(&etcd).await];

    let outage = async {
        etcd.freeze();
        let notices = consumer.sees("the outage", |view| !view.live);
        tokio::join!(notices, sleep(2 * Ttl::MIN.duration()));
        etcd.thaw();
        // The leases have expired, and etcd reports that with its first answer.
        let renewed = async || [a.stands(&etcd).await, b.stands(&etcd).await];
        let is_new = |new: &[i64; 2]| new.iter().all(|lease| !leases.contains(lease));
        let new = eventually(PATIENCE, "new leases", renewed, is_new).await;
        consumer.settles_on(&[A, B]).await;
        new
    };
    let mut new = throughout(outage, "both", async || consumer.view(), both).await;

    assert_eq!(consumer.made(), 2, "endpoints are kept");
    assert!(a.registrar().status().borrow().is_registered());
    assert!(b.registrar().status().borrow().is_registered());
    let leases = async || {
        let mut leases = etcd.leases().await;
        leases.sort_unstable();
        leases
    };
    new.sort_unstable();
    eventually(PATIENCE, "no lease more", leases, |now| *now == new).await;
}

/// faults row 3
#[tokio::test]
async fn a_freeze_of_less_than_half_a_ttl_is_seen_as_staleness_and_costs_no_lease() {
    const TTL: Duration = Duration::from_secs(6);
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let provider = async |key: &str, address: &'static str| {
        let service = Service::new(key, address).unwrap();
        let service = service.with_ttl(Ttl::new(TTL).unwrap());
        let registrar = |client| Registrar::new(client, service);
        Provider::with(etcd.endpoint(), key, registrar).await
    };
    let providers = [provider("/svc/a", A).await, provider("/svc/b", B).await];
    consumer.settles_on(&[A, B]).await;
    let entries = [etcd.last_put("/svc/a").await, etcd.last_put("/svc/b").await];
    let before = etcd.metrics().await;

    let outage = async {
        // So that the next keep-alive is sent and given up during the freeze, after 3 s in all.
        sleep(TTL / 6).await;
        etcd.freeze();
        let notices = consumer.sees("the outage", |view| !view.live);
        tokio::join!(notices, sleep(TTL * 9 / 20));
        etcd.thaw();
        consumer.settles_on(&[A, B]).await;
        // The leases have their full TTL again, which they can have only after a keep-alive.
        let left = async || {
            let leases = entries.map(|entry| entry.expect("it stands").0);
            [
                etcd.seconds_left(leases[0]).await,
                etcd.seconds_left(leases[1]).await,
            ]
        };
        let is_whole = |left: &[i64; 2]| left.iter().all(|left| *left >= 4);
        eventually(PATIENCE, "both leases prolonged", left, is_whole).await;
    };
    let look = async || {
        let statuses = providers.each_ref().map(|it| it.registrar().status());
        let statuses = statuses.map(|status| status.borrow());
        (consumer.view(), statuses)
    };
    let nothing = |(view, statuses): &(View, [Arc<RegistrarStatus>; 2])| {
        both(view) && view.held.is_empty() && statuses.iter().all(|it| it.is_registered())
    };
    throughout(outage, "both registered, undoubted", look, nothing).await;

    let now = [etcd.last_put("/svc/a").await, etcd.last_put("/svc/b").await];
    assert_eq!(now, entries, "the same leases, and nothing was put again");
    let asked = etcd.metrics().await.since(&before);
    assert_eq!((asked.lease_grants(), asked.txns()), (0, 0));
    assert_eq!(consumer.made(), 2, "endpoints are kept");
}

/// Between faults rows 2 and 3: etcd is back before its clients give up the connection, and the
/// lease may be lost.
#[tokio::test]
async fn a_freeze_that_just_costs_a_lease_takes_nobody_from_consumers() {
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), "/svc/a", A).await;
    let beats = async || etcd.metrics().await.keepalives();
    let mut lost = 0;
    for millis in [1500, 1650, 1700, 1800, 1900] {
        // A consumer that has seen no trouble yet applies removals at once.
        let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
        let lease = provider.stands(&etcd).await;
        consumer.settles_on(&[A]).await;

        let outage = async {
            let before = beats().await;
            eventually(PATIENCE, "a beat", beats, |beats| *beats > before).await;
            // Just before the next keep-alive, when the lease has the least time left.
            sleep(Ttl::MIN.duration() / 4).await;
            etcd.freeze();
            sleep(Duration::from_millis(millis)).await;
            etcd.thaw();
            // Old or new, the lease is renewed, and no request is in flight any more.
            let before = beats().await;
            eventually(PATIENCE, "two beats", beats, |beats| *beats > before + 1).await;
            consumer.settles_on(&[A]).await;
            provider.stands(&etcd).await
        };
        let has_it = |view: &_| View::has(view, A);
        let new = throughout(outage, "the instance", async || consumer.view(), has_it).await;

        lost += u32::from(new != lease);
        assert_eq!(consumer.made(), 1, "the endpoint is kept");
    }
    assert!(lost > 0, "no lease was lost: that was too easy");
}

/// faults row 14
#[tokio::test]
async fn a_provider_that_was_frozen_comes_back_when_it_wakes() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let _other = Provider::start(etcd.endpoint(), "/svc/b", B).await;
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_sd-tests-provider");
    let log = dir.path().join("log");
    let mut provider = RemoteProvider::start(program, etcd.endpoint(), "/svc/a", A, &log);
    consumer.settles_on(&[A, B]).await;
    let (lease, _) = etcd.last_put("/svc/a").await.expect("it is seen");

    let absence = async {
        provider.freeze();
        // The registry is healthy, so the removal applies at once.
        consumer.settles_on(&[B]).await;
        sleep(Ttl::MIN.duration()).await;
        assert_eq!(consumer.view().instances, [B], "a frozen one does nothing");
        provider.thaw();
        consumer.settles_on(&[A, B]).await;
    };
    let has_other = |view: &_| View::has(view, B);
    throughout(
        absence,
        "the other one",
        async || consumer.view(),
        has_other,
    )
    .await;

    let (new, put) = etcd.last_put("/svc/a").await.expect("it is back");
    assert_ne!(new, lease);
    assert_eq!(etcd.leases().await.len(), 2, "the old lease is gone");
    // It sends keep-alives again: a whole TTL later, its entry is still the same.
    sleep(Ttl::MIN.duration() + Duration::from_secs(1)).await;
    assert_eq!(etcd.last_put("/svc/a").await, Some((new, put)));
}
