//! Rows 37 and 38: etcd is put back to an earlier state.

use crate::*;
use sd_tests::{Consumer, Log, throughout};

const ROLLED_BACK: &str =
    "the history of etcd went back, as after a restore: older entries are overwritten";

/// Every test here captures its log: which lines a thread has is decided when a line is first logged.
fn assert_said_once(log: &Log) {
    let lines = log.lines();
    let said = lines.iter().filter(|line| line.message == ROLLED_BACK);
    assert_eq!(said.count(), 1, "{lines:?}");
}

/// Row 37: a deploy lies between the backup and its restore.
#[tokio::test]
async fn an_entry_on_the_lease_of_a_dead_predecessor_is_taken_back_at_once() {
    let log = Log::capture();
    let etcd = Etcd::start().await;
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    // Longer than the test has patience: nobody waits for its end.
    etcd.put_leased(KEY, OWN, 10 * PATIENCE).await;
    consumer.settles_on(&[ADDRESS]).await;
    let backup = etcd.back_up();
    let client = client(&etcd);
    let registrar = registrar(&client, OTHER);
    registrar.register().await.unwrap();

    let restored = async {
        etcd.restore(&backup).await;
        assert_eq!(etcd.get(KEY).await.as_deref(), Some(OWN.as_bytes()));
        has(&etcd, &client, &registrar, OTHER).await;
    };
    let has_address = |view: &sd_tests::View| view.has(ADDRESS);
    throughout(
        restored,
        "its address",
        async || consumer.view(),
        has_address,
    )
    .await;

    assert_said_once(&log);
}

/// Row 37: etcd was empty in between and counts anew, so that the entry of the backup has a larger
/// modification than the one that was put last.
#[tokio::test]
async fn an_own_entry_from_before_a_rebuild_is_taken_back_at_once() {
    let log = Log::capture();
    let etcd = Etcd::start().await;
    for _ in 0..20 {
        etcd.put("/strangers", "busy").await;
    }
    let consumer = Consumer::start(etcd.endpoint(), "/svc").await;
    let client = client(&etcd);
    // Longer than the test has patience: nobody waits for the end of a lease.
    let service = service(KEY, OWN).with_ttl(Ttl::MAX);
    let registrar = Registrar::new(client.clone(), service);
    registrar.register().await.unwrap();
    consumer.settles_on(&[ADDRESS]).await;
    let backup = etcd.back_up();

    let restored = async {
        etcd.wipe().await;
        has(&etcd, &client, &registrar, OWN).await;
        let anew = etcd.entry(KEY).await.unwrap();
        etcd.restore(&backup).await;
        let before = etcd.entry(KEY).await.unwrap();
        assert!(before.mod_revision() > anew.mod_revision());
        assert_ne!(before.lease(), anew.lease());
        has(&etcd, &client, &registrar, OWN).await;
        consumer.settles_on(&[ADDRESS]).await;
    };
    let has_address = |view: &sd_tests::View| view.has(ADDRESS);
    throughout(
        restored,
        "its address",
        async || consumer.view(),
        has_address,
    )
    .await;

    assert_said_once(&log);
}

/// Row 38: the entry is on the lease that it had, with a value from before.
#[tokio::test]
async fn an_entry_that_was_rolled_back_under_its_lease_is_put_back() {
    let log = Log::capture();
    let etcd = Etcd::start().await;
    let client = client(&etcd);
    let registrar = registrar(&client, OWN);
    registrar.register().await.unwrap();
    let backup = etcd.back_up();
    registrar.update(OTHER).await.unwrap();
    let lease = etcd.entry(KEY).await.unwrap().lease();

    etcd.restore(&backup).await;

    let entry = etcd.entry(KEY).await.unwrap();
    assert_eq!((entry.value(), entry.lease()), (OWN.as_bytes(), lease));
    has(&etcd, &client, &registrar, OTHER).await;
    assert_said_once(&log);
}

/// Row 38: also if strangers have pushed the counter past ours.
#[tokio::test]
async fn a_rollback_shows_in_the_modification_whatever_the_counter_is() {
    let log = Log::capture();
    let etcd = Etcd::start().await;
    let proxy = sd_tests::Proxy::to(etcd.address()).await;
    let client = EtcdClient::connect([proxy.endpoint()]).unwrap();
    let registrar = registrar(&client, OWN);
    registrar.register().await.unwrap();
    let backup = etcd.back_up();
    registrar.update(OTHER).await.unwrap();
    let known = etcd.revision().await;

    proxy.refuse().await;
    proxy.drop_connections();
    etcd.restore(&backup).await;
    while etcd.revision().await <= known + 3 {
        etcd.put("/strangers", "busy").await;
    }
    proxy.resume();

    has(&etcd, &client, &registrar, OTHER).await;
    assert_said_once(&log);
}
