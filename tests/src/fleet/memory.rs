//! Providers and consumers of a registry in memory, for paused time.

use super::{consumer::Consumer, provider::Provider};
use crate::eventually::{PATIENCE, eventually, throughout};
use sd_core::{Client, LeaseId, Registrar, Service, Ttl};
use sd_memory::{MemoryClient, Registry};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

impl Provider<MemoryClient> {
    /// Registers `address` under `key`, with a client of its own.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn in_memory(
        registry: &Registry,
        key: &str,
        address: &'static str,
        ttl: Ttl,
    ) -> Self {
        let service = Service::new(key, address).expect("a key").with_ttl(ttl);
        Self::in_memory_with(registry, key, |client| Registrar::new(client, service)).await
    }

    /// Like [`in_memory`](Self::in_memory), with this registrar.
    pub async fn in_memory_with(
        registry: &Registry,
        key: &str,
        registrar: impl FnOnce(MemoryClient) -> Registrar,
    ) -> Self {
        Self::of(registry.client(), key, registrar).await
    }

    /// The lease of its entry, if registry, client and registrar agree on it.
    pub fn standing(&self, registry: &Registry) -> Option<LeaseId> {
        let lease = registry.get(self.key())?.lease?;
        let status = self.registrar().status();
        let is_registered = status.borrow().is_registered();
        (is_registered && self.client().lease_id().as_ref() == Some(&lease)).then_some(lease)
    }

    /// Waits until it [stands](Self::standing); gives the lease.
    pub async fn stands_in(&self, registry: &Registry) -> LeaseId {
        let standing = async || self.standing(registry);
        let what = format!("{} on our lease", self.key());
        let lease = eventually(PATIENCE, &what, standing, Option::is_some).await;
        lease.expect("it was waited for")
    }
}

impl Consumer<MemoryClient> {
    /// Follows `prefix` with its own client and this grace period.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn in_memory(registry: &Registry, prefix: &str, grace: Duration) -> Self {
        Self::of(registry.client(), prefix, grace).await
    }

    /// Awaits `fault`, and checks all the time that there are instances and endpoints, and that a
    /// pick succeeds.
    ///
    /// # Panics
    /// As soon as that is not so.
    pub async fn never_empty<O>(&self, fault: impl Future<Output = O>) -> O {
        let look = async || {
            self.pick();
            self.view()
        };
        throughout(fault, "somebody to call", look, |view| view.is_usable()).await
    }

    /// Waits until the consumer follows the registry, and returns the time.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn turns_live(&self) -> Instant {
        let mut events = self.instancer().subscribe();
        let live = async {
            while let Some(event) = futures::StreamExt::next(&mut events).await {
                if event.health().is_live() {
                    return Instant::now();
                }
            }
            panic!("the instancer has stopped");
        };
        let live = tokio::time::timeout(PATIENCE, live).await;
        live.expect("following again in time")
    }

    /// Asserts that `address` can be called until a millisecond before `then`, and not from a
    /// millisecond after it.
    ///
    /// # Panics
    /// If it goes at another moment.
    pub async fn loses_at(&self, then: Instant, address: &str) {
        const TICK: Duration = Duration::from_millis(1);
        let still = async || self.view();
        let before = sleep_until(then - TICK);
        throughout(before, "what is held", still, |view| view.has(address)).await;
        sleep_until(then + TICK).await;
        let view = self.view();
        assert!(
            !view.has(address) && view.held.is_empty(),
            "{address} is to be gone: {view:?}"
        );
    }
}
