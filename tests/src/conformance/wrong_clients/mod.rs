//! Clients that break one promise each, to check that the conformance suite notices.
//!
//! Every [`Flaw`] changes one answer of a correct client, like a plausible mistake.

mod editors;
mod lists;
mod owners;
mod registrations;
mod watches;

pub use editors::*;
pub use lists::*;
pub use owners::*;
pub use registrations::*;
pub use watches::*;

use super::memory::MemoryHarness;
use sd_conformance::{Harness, HarnessResult, NewRevision, TestClient};
use sd_core::{
    Bytes, Client, Deregistered, Editor, FencedEntry, Key, LeaseId, Prefix, Registration, Result,
    Revision, Service, Snapshot, Watch, WatchError, async_trait,
};
use sd_memory::{MemoryClient, Registry};
use std::{marker::PhantomData, sync::Arc};

/// A mistake: what a wrong client does instead of the right one's call. By default, nothing is
/// wrong.
#[async_trait]
pub trait Flaw: Default + Send + Sync + 'static {
    /// [`Client::get_entries`].
    async fn list(&self, right: &Right, prefix: &Prefix) -> Result<Snapshot> {
        right.client.get_entries(prefix).await
    }

    /// [`Client::watch_prefix`].
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        right.client.watch_prefix(prefix, after).await
    }

    /// [`Client::register`].
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        right.client.register(service).await
    }

    /// [`Client::deregister`].
    async fn deregister(&self, right: &Right, service: &Service) -> Result<Deregistered> {
        right.client.deregister(service).await
    }

    /// [`Client::lease_id`].
    fn lease_id(&self, right: &Right) -> Option<LeaseId> {
        right.client.lease_id()
    }

    /// [`Editor::get_entry`].
    async fn read(&self, right: &Right, key: &Key) -> Result<Option<FencedEntry>> {
        right.client.get_entry(key).await
    }

    /// [`Editor::replace_entry`].
    async fn replace(&self, right: &Right, read: &FencedEntry, value: Bytes) -> Result<bool> {
        right.client.replace_entry(read, value).await
    }

    /// [`Editor::delete_entry`].
    async fn delete(&self, right: &Right, read: &FencedEntry) -> Result<bool> {
        right.client.delete_entry(read).await
    }
}

/// The correct client, and its registry.
#[derive(Debug, Clone)]
pub struct Right {
    registry: Registry,
    client: MemoryClient,
}

struct Wrong<F>(Right, F);

#[async_trait]
impl<F: Flaw> Client for Wrong<F> {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        self.1.list(&self.0, prefix).await
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        self.1.watch(&self.0, prefix, after).await
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        self.1.register(&self.0, service).await
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        self.1.deregister(&self.0, service).await
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.1.lease_id(&self.0)
    }
}

#[async_trait]
impl<F: Flaw> Editor for Wrong<F> {
    async fn get_entry(&self, key: &Key) -> Result<Option<FencedEntry>> {
        self.1.read(&self.0, key).await
    }

    async fn replace_entry(&self, read: &FencedEntry, value: Bytes) -> Result<bool> {
        self.1.replace(&self.0, read, value).await
    }

    async fn delete_entry(&self, read: &FencedEntry) -> Result<bool> {
        self.1.delete(&self.0, read).await
    }
}

/// The memory registry, seen through clients with the flaw `F`.
#[derive(Debug, Default)]
pub struct FlawedHarness<F> {
    right: MemoryHarness,
    flaw: PhantomData<F>,
}

#[async_trait]
impl<F: Flaw> Harness for FlawedHarness<F> {
    async fn client(&self) -> HarnessResult<TestClient> {
        let registry = self.right.registry().clone();
        let client = registry.client();
        let right = Right {
            registry,
            client: client.clone(),
        };
        let wrong = Arc::new(Wrong(right, F::default()));
        Ok(MemoryHarness::test_client(client, wrong.clone()).editing_as(wrong))
    }

    fn many_entries(&self) -> usize {
        1_100
    }

    fn too_large_value_len(&self) -> Option<usize> {
        self.right.too_large_value_len()
    }

    async fn put(&self, key: &Key, value: Bytes) -> HarnessResult {
        self.right.put(key, value).await
    }

    async fn delete(&self, key: &Key) -> HarnessResult {
        self.right.delete(key).await
    }

    async fn transact(&self, puts: &[(Key, Bytes)], deletes: &[Key]) -> HarnessResult {
        self.right.transact(puts, deletes).await
    }

    async fn read(&self, key: &Key) -> HarnessResult<Option<Bytes>> {
        self.right.read(key).await
    }

    async fn expire(&self, lease: &LeaseId) -> HarnessResult {
        self.right.expire(lease).await
    }

    async fn leases(&self) -> HarnessResult<Vec<LeaseId>> {
        self.right.leases().await
    }

    async fn watchers(&self) -> HarnessResult<usize> {
        self.right.watchers().await
    }

    async fn compact(&self) -> HarnessResult {
        self.right.compact().await
    }

    async fn interrupt(&self) -> HarnessResult {
        self.right.interrupt().await
    }

    async fn disrupt(&self) -> HarnessResult {
        self.right.disrupt().await
    }

    async fn restore(&self) -> HarnessResult {
        self.right.restore().await
    }

    async fn rebuild(&self, revision: NewRevision) -> HarnessResult {
        self.right.rebuild(revision).await
    }
}
