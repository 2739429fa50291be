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

#[tokio::test(start_paused = true)]
async fn an_entry_is_edited() {
    let monitor = Monitor::start();
    let registry = Registry::new();
    let registrar = Registrar::new(registry.client(), service());
    registrar.register().await.unwrap();

    monitor.reset();
    registry.edit(KEY, r#"{"address":"10.0.0.1:80","weight":3}"#);

    monitor
        .shows("an entry is edited in the registry, on its lease")
        .await;
}

#[tokio::test]
async fn a_provider_finds_an_older_entry() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    provider.stands(&etcd).await;
    let backup = etcd.back_up();
    provider.registrar().update("10.0.0.2:80").await.unwrap();

    monitor.reset();
    etcd.restore(&backup).await;

    monitor
        .shows("a provider finds an older entry of its own")
        .await;
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
async fn a_provider_gets_no_answer_for_its_ttl() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let lease = provider.stands(&etcd).await;

    monitor.reset();
    etcd.kill();
    let proven = async || provider.registrar().is_proven();
    eventually(PATIENCE, "no proof", proven, |proven| !proven).await;
    // Its clock stood still, too.
    etcd.start_again().await;

    monitor.shows("a provider gets no answer for its TTL").await;
    assert_eq!(provider.stands(&etcd).await, lease);
}

#[test]
fn the_runtime_of_a_client_ends() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let (ends, stays) = (runtime(), runtime());
    let monitor = Monitor::start();
    let etcd = stays.block_on(Etcd::start());
    let provider = ends.block_on(Provider::start(etcd.endpoint(), KEY, ADDRESS));

    monitor.reset();
    drop(ends);

    stays.block_on(monitor.shows("the runtime of a client ends first"));
    drop(provider);
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

/// Puts keys of 1.4 MB on a lease.
async fn hang(etcd: &Etcd, lease: i64, keys: std::ops::Range<usize>) {
    let mut others = etcd.client().await;
    for n in keys {
        let key = format!("/other/{n}/{}", "k".repeat(1_400_000));
        let options = PutOptions::new().with_lease(lease);
        others.put(key, "", Some(options)).await.unwrap();
    }
}

/// hostile rows 1 and 2
#[tokio::test]
async fn others_hang_keys_on_a_lease() {
    let monitor = Monitor::start();
    let etcd = Etcd::start().await;
    let provider = Provider::start(etcd.endpoint(), KEY, ADDRESS).await;
    let lease = provider.stands(&etcd).await;

    monitor.reset();
    hang(&etcd, lease, 0..2).await;
    monitor
        .shows("others hang keys on a provider's lease")
        .await;

    monitor.reset();
    hang(&etcd, lease, 2..4).await;
    monitor
        .shows("others hang more on a provider's lease than is read")
        .await;
    provider.stands(&etcd).await;
}
