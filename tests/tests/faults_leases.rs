//! Registrations whose lease or key somebody else changes.

use sd_core::{Client, Deregistered, Registrar, RegistrarStatus, Service, Ttl};
use sd_tests::{Consumer, Etcd, PATIENCE, Provider, Proxy, View, eventually, throughout};

const KEY: &str = "/svc/a";
const ADDRESS: &str = "10.0.0.1:80";
/// The address of a provider without faults.
const OTHER: &str = "10.0.0.2:80";

async fn other(etcd: &Etcd) -> Provider {
    Provider::start(etcd.endpoint(), "/svc/b", OTHER).await
}

fn taken_by(value: &'static str) -> impl Fn(&RegistrarStatus) -> bool {
    move |status| matches!(status, RegistrarStatus::Taken { value: new } if new == value)
}

/// Waits until `accept` returns `true` for the provider's status.
async fn says(provider: &Provider, what: &str, accept: impl Fn(&RegistrarStatus) -> bool) {
    let status = provider.registrar().status();
    let look = async || status.borrow();
    eventually(PATIENCE, what, look, |status| accept(status)).await;
}

/// faults row 1
#[tokio::test]
async fn a_revoked_lease_is_replaced() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let other = other(&etcd).await;
    consumer.settles_on(&[ADDRESS, OTHER]).await;
    let lease = provider.stands(&etcd).await;
    let untouched = etcd.last_put("/svc/b").await;
    let before = etcd.metrics().await;

    let back = async {
        etcd.revoke(lease).await;
        consumer.settles_on(&[OTHER]).await;
        consumer.settles_on(&[ADDRESS, OTHER]).await;
        provider.stands(&etcd).await
    };
    let has_other = |view: &_| View::has(view, OTHER);
    let new = throughout(back, "the other one", async || consumer.view(), has_other).await;

    assert_ne!(new, lease);
    let mut leases = etcd.leases().await;
    leases.sort_unstable();
    let mut expected = [new, other.stands(&etcd).await];
    expected.sort_unstable();
    assert_eq!(leases, expected);
    assert_eq!(etcd.last_put("/svc/b").await, untouched);
    let asked = etcd.metrics().await.since(&before);
    assert_eq!((asked.lease_grants(), asked.txns()), (1, 1));
    assert_eq!(asked.range_requests(), 0, "nothing was listed");
}

/// faults row 8
#[tokio::test]
async fn a_deleted_key_is_put_back_on_the_same_lease() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let _other = other(&etcd).await;
    consumer.settles_on(&[ADDRESS, OTHER]).await;
    let lease = provider.stands(&etcd).await;
    let before = etcd.metrics().await;

    let back = async {
        assert!(etcd.delete(KEY).await);
        consumer.settles_on(&[OTHER]).await;
        consumer.settles_on(&[ADDRESS, OTHER]).await;
        provider.stands(&etcd).await
    };
    let has_other = |view: &_| View::has(view, OTHER);
    let same = throughout(back, "the other one", async || consumer.view(), has_other).await;

    assert_eq!(same, lease);
    assert!(provider.registrar().status().borrow().is_registered());
    let asked = etcd.metrics().await.since(&before);
    assert_eq!(asked.lease_grants(), 0);
    assert_eq!(asked.range_requests(), 0, "nothing was listed");
}

/// faults row 9
#[tokio::test]
async fn an_overwritten_key_is_reported_and_left_alone_until_it_is_free() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    consumer.settles_on(&[ADDRESS]).await;

    etcd.put(KEY, "10.9.9.9:80").await;
    let theirs = etcd.last_put(KEY).await;

    says(&provider, "taken, by whom", taken_by("10.9.9.9:80")).await;
    consumer.settles_on(&["10.9.9.9:80"]).await;
    // It checks from time to time whether the key is free, without changing anything.
    let before = etcd.metrics().await;
    let looks = async || etcd.metrics().await.since(&before).txns();
    eventually(PATIENCE, "two looks", looks, |looks| *looks >= 2).await;
    assert_eq!(etcd.last_put(KEY).await, theirs);

    etcd.delete(KEY).await;
    provider.stands(&etcd).await;
    consumer.settles_on(&[ADDRESS]).await;
}

/// faults row 9
#[tokio::test]
async fn an_overwritten_key_is_retaken_where_that_was_asked_for() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let service = Service::new(KEY, ADDRESS).unwrap().with_ttl(Ttl::MIN);
    let provider = Provider::with(etcd.endpoint(), KEY, |client| {
        Registrar::builder(client, service).retake(true).build()
    });
    let provider = provider.await;
    consumer.settles_on(&[ADDRESS]).await;
    let lease = provider.stands(&etcd).await;

    etcd.put(KEY, "10.9.9.9:80").await;

    consumer.settles_on(&["10.9.9.9:80"]).await;
    consumer.settles_on(&[ADDRESS]).await;
    assert_eq!(provider.stands(&etcd).await, lease);
}

/// faults row 10
#[tokio::test]
async fn a_crashed_provider_that_comes_back_survives_the_end_of_its_old_lease() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let proxy = Proxy::to(etcd.address()).await;
    let crashed = Provider::start(proxy.endpoint(), KEY, ADDRESS).await;
    consumer.settles_on(&[ADDRESS]).await;
    let old = crashed.stands(&etcd).await;
    let leases = async || etcd.leases().await;

    let restart = async {
        proxy.refuse().await;
        proxy.drop_connections();
        let restarted = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
        assert!(leases().await.contains(&old), "before the old lease ends");
        let new = restarted.stands(&etcd).await;
        eventually(PATIENCE, "the old lease to end", leases, |leases| {
            leases == &[new]
        })
        .await;
        assert_eq!(restarted.stands(&etcd).await, new);
        restarted
    };
    let has = |view: &_| View::has(view, ADDRESS);
    let restarted = throughout(restart, "its address", async || consumer.view(), has).await;

    assert!(restarted.registrar().status().borrow().is_registered());
    assert_eq!(consumer.made(), 1, "nobody noticed");
}

/// faults row 11
#[tokio::test]
async fn a_deregistration_leaves_the_key_to_whom_it_belongs_by_now() {
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let old = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    consumer.settles_on(&[ADDRESS]).await;

    let handover = async {
        let new = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
        let lease = new.stands(&etcd).await;
        let theirs = etcd.last_put(KEY).await;
        // Before it has noticed.
        let outcome = old.registrar().deregister().await;
        assert_eq!(outcome.unwrap(), Deregistered::NotOurs);
        // Its lease is revoked, which removes no entry.
        let leases = async || etcd.leases().await;
        eventually(PATIENCE, "one lease", leases, |leases| leases == &[lease]).await;
        assert_eq!(etcd.last_put(KEY).await, theirs);
        new
    };
    let has = |view: &_| View::has(view, ADDRESS);
    let new = throughout(handover, "its address", async || consumer.view(), has).await;

    assert!(new.registrar().status().borrow().is_registered());
    assert_eq!(old.client().lease_id(), None);
    consumer.settles_on(&[ADDRESS]).await;
}

/// faults row 11
#[tokio::test]
async fn one_who_knows_that_his_key_was_taken_deregisters_without_harm() {
    let etcd = Etcd::start().await;
    let old = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let new = Provider::start(etcd.endpoint(), KEY, OTHER).await;
    let lease = new.stands(&etcd).await;
    says(&old, "taken, by whom", taken_by(OTHER)).await;
    let theirs = etcd.last_put(KEY).await;

    let outcome = old.registrar().deregister().await;

    assert_eq!(outcome.unwrap(), Deregistered::NotOurs);
    let leases = async || etcd.leases().await;
    eventually(PATIENCE, "one lease", leases, |leases| leases == &[lease]).await;
    assert_eq!(etcd.last_put(KEY).await, theirs);
}
