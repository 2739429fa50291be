//! What the registry and its clients promise, on paused time.

// The helpers of tests are not in tests, as clippy sees it.
#![allow(clippy::unwrap_used)]

mod leases;
mod leftovers;
mod partitions;
mod registrations;
mod restores;
mod troubles;
mod watches;

use futures::StreamExt;
use sd_core::{Batch, Change, Client, Prefix, Registration, Service, Ttl, Watch, WatchError};
use sd_memory::{MemoryClient, Registry};
use std::{future::Future, time::Duration};

const TTL: Duration = Duration::from_secs(9);
const A: &str = "/services/hello/a";
const B: &str = "/services/hello/b";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn service(key: &str, value: &'static str) -> Service {
    let ttl = Ttl::new(TTL).unwrap();
    Service::new(key, value).unwrap().with_ttl(ttl)
}

fn hello() -> Prefix {
    Prefix::new("/services/hello").unwrap()
}

async fn registered(client: &MemoryClient, key: &str, value: &'static str) -> Registration {
    client.register(&service(key, value)).await.unwrap()
}

/// A watch of `/services/hello/` from the present on, which the registry has answered.
async fn watch(client: &MemoryClient) -> Watch {
    let now = client.get_entries(&hello()).await.unwrap().revision;
    let mut watch = client.watch_prefix(&hello(), &now).await.unwrap();
    assert!(changes(&mut watch).await.is_empty());
    watch
}

fn value(registry: &Registry, key: &str) -> Option<String> {
    let stored = registry.get(key)?;
    Some(String::from_utf8(stored.value.to_vec()).unwrap())
}

/// The output of `future`, within a minute of paused time.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let minute = tokio::time::timeout(seconds(60), future);
    minute.await.expect("nothing happened within a minute")
}

async fn item(watch: &mut Watch) -> Result<Batch, WatchError> {
    soon(watch.next()).await.expect("the watch has ended")
}

/// The next batch's changes, as `+key=value` and `-key`.
async fn changes(watch: &mut Watch) -> Vec<String> {
    let batch = item(watch).await.unwrap();
    batch.changes.iter().map(told).collect()
}

fn told(change: &Change) -> String {
    match change.value() {
        Some(value) => format!("+{}={}", change.key(), String::from_utf8_lossy(value)),
        None => format!("-{}", change.key()),
    }
}
