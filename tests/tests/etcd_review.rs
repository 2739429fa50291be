//! The etcd backend where it is easily wrong: races, bounds, strays and silence.

use futures::{StreamExt, future::join_all};
use sd_core::{
    Change, Client, Deregistered, Key, Lost, Prefix, Reclaimed, Service, Ttl, Watch, WatchError,
};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, Proxy, eventually};
use std::time::Duration;
use tokio::time::{Instant, timeout};

fn client(endpoint: impl Into<String>) -> EtcdClient {
    EtcdClient::connect([endpoint]).unwrap()
}

fn service(key: &str) -> Service {
    Service::new(key, "10.0.0.1:80").unwrap().with_ttl(Ttl::MIN)
}

fn prefix() -> Prefix {
    Prefix::new("/svc").unwrap()
}

/// etcd answers a request for progress only once it has reached the revision that every watch on
/// the stream starts from (3.4.31, 3.5.13, 3.6 and later).
#[tokio::test]
async fn an_idle_registry_is_not_taken_for_a_silent_one() {
    let etcd = Etcd::start().await;
    etcd.put("/svc/a", "1").await;
    let client = client(etcd.endpoint());
    let snapshot = client.get_entries(&prefix()).await.unwrap();
    let mut watch = client
        .watch_prefix(&prefix(), &snapshot.revision)
        .await
        .unwrap();

    let heard = timeout(Duration::from_secs(6), watch.next()).await;

    assert!(heard.is_err(), "{heard:?}");
}
