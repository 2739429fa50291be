//! Faults of registrations: their keys and leases are changed.

use crate::*;
use etcd_client::PutOptions;
use std::thread;

#[tokio::test]
async fn a_lease_is_revoked() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let lease = provider.stands(&etcd).await;

    monitor.reset();
    etcd.revoke(lease).await;

    monitor.shows("a lease is lost").await;
}

#[tokio::test]
async fn a_key_is_deleted() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    provider.stands(&etcd).await;

    monitor.reset();
    assert!(etcd.delete(KEY).await);

    monitor.shows("a key is deleted by hand").await;
}

#[tokio::test]
async fn a_key_is_taken() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    provider.stands(&etcd).await;

    monitor.reset();
    etcd.put(KEY, "10.0.0.66:80").await;

    monitor.shows("a key is taken").await;
    let line = monitor
        .log
        .lines()
        .into_iter()
        .find(|it| it.level == Level::WARN);
    let owner = line.unwrap().field("owner").map(str::to_owned);
    assert_eq!(owner.as_deref(), Some("10.0.0.66:80"));
}

#[tokio::test]
async fn a_deregistration_is_not_answered() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    provider.stands(&etcd).await;

    monitor.reset();
    etcd.freeze();
    provider.registrar().deregister().await.unwrap();
    provider.client().close().await;

    monitor.shows("a deregistration is not answered").await;
    etcd.thaw();
}

#[tokio::test]
async fn a_provider_stands_still_for_longer_than_its_ttl() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    provider.stands(&etcd).await;

    monitor.reset();
    // Like SIGSTOP: this process stands still, and etcd runs.
    thread::sleep(3 * Ttl::MIN.duration());

    monitor
        .shows("a provider stands still for longer than its TTL")
        .await;
    provider.stands(&etcd).await;
}

#[tokio::test]
async fn a_key_is_registered_twice_by_one_client() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    provider.stands(&etcd).await;

    monitor.reset();
    let second = Registrar::new(provider.client().clone(), service());
    second.register().await.unwrap();

    monitor
        .shows("a key is registered twice by one client")
        .await;
}

#[tokio::test]
async fn a_key_stands_that_was_given_up() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let lease = provider.stands(&etcd).await;

    monitor.reset();
    // Like a put that was given up and that etcd carries out after a thaw.
    let options = PutOptions::new().with_lease(lease);
    let mut late = etcd.client().await;
    late.put("/services/hello/late", ADDRESS, Some(options))
        .await
        .unwrap();

    monitor
        .shows("a put that was given up takes effect all the same")
        .await;
    let keys = || etcd.keys("/services/hello/");
    eventually(PATIENCE, "the stray gone", keys, |keys| keys == &[KEY]).await;
}
