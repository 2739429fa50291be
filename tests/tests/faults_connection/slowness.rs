//! Networks and etcds that are too slow, or too narrow.

use super::{KEY, prefix, registered, secs, service};
use sd_core::{Client, Instancer, WatchError};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, Log, PATIENCE, Proxy, eventually};
use std::time::Duration;
use tracing::Level;

/// Row 44: every answer takes 1.6 s. Everything works, as stale data where a second of silence is one
/// too many, and the reason is said.
#[tokio::test]
async fn a_steady_latency_is_said_to_be_too_slow() {
    let log = Log::capture();
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    proxy.delay(Duration::from_millis(800));
    let client = EtcdClient::connect([proxy.endpoint()]).unwrap();
    let instancer = Instancer::new(client.clone(), prefix());
    let registrar = registered(&client, service(KEY, 20)).await;
    instancer.ready_within(PATIENCE).await.unwrap();

    let said = async || {
        let lines = log.lines().into_iter();
        let lines = lines.filter(|line| line.message.starts_with("etcd answers, but too slowly"));
        lines.collect::<Vec<_>>()
    };
    let lines = eventually(PATIENCE, "a line", said, |lines| !lines.is_empty()).await;
    assert_eq!(lines[0].level, Level::WARN);
    assert_eq!(lines[0].field("interval").unwrap(), "1s");
    assert!(registrar.status().borrow().is_registered());
    assert_eq!(etcd.keys("/svc/").await, [KEY]);
}

/// Row 44: the same with a liveness interval that fits is live.
#[tokio::test]
async fn a_steady_latency_is_no_trouble_with_options_that_fit() {
    let etcd = Etcd::start().await;
    let proxy = Proxy::to(etcd.address()).await;
    proxy.delay(Duration::from_millis(800));
    let builder = EtcdClient::builder([proxy.endpoint()]).dial_timeout(secs(10));
    let builder = builder.liveness(secs(6), secs(12));
    let client = builder.request_timeout(secs(20)).build().unwrap();
    let instancer = Instancer::new(client, prefix());
    instancer.ready_within(PATIENCE).await.unwrap();

    let course = tokio::time::sleep(secs(10));
    let live = async || super::is_live(&instancer);
    eventually(PATIENCE, "it to be live", live, |live| *live).await;
    sd_tests::throughout(course, "live", live, |live| *live).await;
}

/// Row 44: one stream for each connection is less than a client needs.
#[tokio::test]
async fn too_few_streams_are_said() {
    let etcd = Etcd::start().await;
    if etcd.version().await.starts_with("3.4.") {
        eprintln!("not run: this etcd has no --max-concurrent-streams");
        return;
    }
    let setup = Etcd::setup().flag("--max-concurrent-streams=1");
    let etcd = setup.start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let known = client.get_entries(&prefix()).await.unwrap();

    let refused = client.watch_prefix(&prefix(), &known.revision).await;
    let Err(WatchError::Interrupted(error)) = refused else {
        panic!("{:?}", refused.map(drop));
    };
    let error = error.to_string();
    assert!(error.contains("--max-concurrent-streams"), "{error}");
}

/// Item 16 of the connection: etcd grants no TTL under one and a half of its election timeouts.
#[tokio::test]
async fn a_longer_ttl_than_asked_for_is_used_and_said() {
    let log = Log::capture();
    let setup = Etcd::setup().flag("--election-timeout=4000");
    let etcd = setup.flag("--heartbeat-interval=400").start().await;
    let client = EtcdClient::connect([etcd.endpoint()]).unwrap();
    let before = etcd.metrics().await;
    let _registrar = registered(&client, service(KEY, 2)).await;

    let ttl = async || client.granted_ttl().map(|ttl| ttl.as_secs());
    eventually(PATIENCE, "the TTL", ttl, |ttl| *ttl == Some(6)).await;
    let _second = registered(&client, service(super::OTHER, 2)).await;
    tokio::time::sleep(secs(6)).await;

    let lines = log.lines().into_iter();
    let lines = lines.filter(|line| line.message.starts_with("etcd grants a longer TTL"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (
            lines[0].field("asked").unwrap(),
            lines[0].field("granted").unwrap()
        ),
        ("2 s", "6 s")
    );
    assert_eq!(etcd.keys("/svc/").await, [KEY, super::OTHER]);
    let beats = etcd.metrics().await.since(&before).keepalives();
    assert!(beats <= 7, "{beats} keep-alives for a TTL of 6 s");
}
