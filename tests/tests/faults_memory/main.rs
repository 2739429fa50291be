//! The faults that the memory registry can express, on paused time: every deadline is exact.

mod consumers;
mod departures;
mod doubts;
mod draining;
mod durations;
mod edits;
mod outages;
mod registrations;
mod reloads;
mod rollbacks;
mod stabilisation;
mod unproven;
mod unusable_values;

use sd_core::{Service, Ttl};
use sd_memory::{MemoryClient, Registry};
use std::time::Duration;
use tokio::time::Instant;

type Provider = sd_tests::Provider<MemoryClient>;
type Consumer = sd_tests::Consumer<MemoryClient>;

const PREFIX: &str = "/svc";
const KEY: &str = "/svc/a";
const ADDRESS: &str = "10.0.0.1:80";
/// The key of a provider without faults.
const OTHER_KEY: &str = "/svc/b";
const OTHER: &str = "10.0.0.2:80";
/// The default of an instancer.
const GRACE: Duration = Duration::from_secs(15);
/// The longest delay of a registrar, and of an instancer, by default.
const LONGEST_DELAY: Duration = Duration::from_secs(4);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

fn seconds(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn ttl() -> Ttl {
    Ttl::from_secs(10).unwrap()
}

/// How long a provider takes at most to be back after a loss.
fn back_within() -> Duration {
    ttl().duration() / 3 + seconds(1)
}

fn service(key: &str, address: &'static str) -> Service {
    Service::new(key, address).unwrap().with_ttl(ttl())
}

async fn provider(registry: &Registry) -> Provider {
    Provider::in_memory(registry, KEY, ADDRESS, ttl()).await
}

async fn other(registry: &Registry) -> Provider {
    Provider::in_memory(registry, OTHER_KEY, OTHER, ttl()).await
}

async fn consumer(registry: &Registry) -> Consumer {
    Consumer::in_memory(registry, PREFIX, GRACE).await
}

/// Two providers, and a consumer that can call both of them.
async fn fleet(registry: &Registry) -> (Provider, Provider, Consumer) {
    let consumer = consumer(registry).await;
    let (provider, other) = (provider(registry).await, other(registry).await);
    consumer.settles_on(&[ADDRESS, OTHER]).await;
    (provider, other, consumer)
}

/// Asserts that no more than `limit` has passed since `start`.
#[track_caller]
fn assert_within(limit: Duration, start: Instant) {
    let took = start.elapsed();
    assert!(took <= limit, "took {took:?}, not within {limit:?}");
}

/// The addresses under [`PREFIX`] as the registry has them.
fn registered(registry: &Registry) -> Vec<String> {
    let entries = registry.entries().into_iter();
    entries
        .map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
        .collect()
}
