//! Providers while the registry is away, and entries that no registry would accept.

mod departures;
mod limits;
mod names;
mod starts;

use etcd_client::{EventType, WatchOptions};
use sd_core::{Deregistered, Registrar, Service, Ttl};
use sd_etcd::EtcdClient;
use sd_tests::{Etcd, PATIENCE, eventually};
use std::time::Duration;
use tokio::time::timeout;

/// How long a deregistration may take in these tests.
const BOUND: Duration = Duration::from_millis(500);
/// What a slow machine may add to a bound. Far below any bound that could apply instead.
const SLACK: Duration = Duration::from_secs(2);
/// A TTL, in seconds, that is much longer than a test.
const LONG: u64 = 600;

fn client(endpoint: impl Into<String>) -> EtcdClient {
    EtcdClient::builder([endpoint])
        .deregister_timeout(BOUND)
        .build()
        .unwrap()
}

fn service(key: &str, ttl: u64) -> Service {
    let ttl = Ttl::from_secs(ttl).unwrap();
    Service::new(key, format!("10.0.0.1:{}", key.len()))
        .unwrap()
        .with_ttl(ttl)
}

fn registrar(client: &EtcdClient, service: Service) -> Registrar {
    Registrar::builder(client.clone(), service)
        .deregister_timeout(2 * BOUND)
        .build()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// The outcome of `deregister`, which must come within its bound.
async fn deregister(registrar: &Registrar) -> Deregistered {
    timeout(2 * BOUND + SLACK, registrar.deregister())
        .await
        .expect("within its bound")
        .unwrap()
}

/// All events of `key`, from etcd's own history.
async fn history(etcd: &Etcd, key: &str) -> Vec<EventType> {
    // The last event, at which reading stops.
    let end = etcd.put(key, "the end").await;
    let mut client = etcd.client().await;
    let options = WatchOptions::new().with_start_revision(1);
    let mut watch = client.watch(key, Some(options)).await.unwrap();
    let mut events = Vec::new();
    loop {
        let response = in_time(watch.message()).await.unwrap().unwrap();
        for event in response.events() {
            if event.kv().unwrap().mod_revision() == end {
                return events;
            }
            events.push(event.event_type());
        }
    }
}

async fn is_gone(etcd: &Etcd, key: &str, within: Duration) {
    eventually(within, "the key gone", || etcd.get(key), Option::is_none).await;
}
