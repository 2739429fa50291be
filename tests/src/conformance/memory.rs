//! The memory registry's harness.

use sd_conformance::{Harness, HarnessResult, NewRevision, TestClient};
use sd_core::{Bytes, Change, Entry, Key, LeaseId, async_trait};
use sd_memory::{MemoryClient, Registry};
use std::sync::Arc;

/// A memory registry and its clients. Supports every check except those with keys that are not
/// UTF-8, which this registry cannot hold.
#[derive(Debug, Default)]
pub struct MemoryHarness {
    registry: Registry,
}

impl MemoryHarness {
    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A test client that calls `shown`, and closes and crashes the `client` underneath.
    pub(super) fn test_client(client: MemoryClient, shown: Arc<dyn sd_core::Client>) -> TestClient {
        let (closing, crashing) = (client.clone(), client);
        TestClient::new(shown)
            .closed_by(async move { closing.close().await })
            .crashed_by(async move { crashing.crash() })
    }
}

#[async_trait]
impl Harness for MemoryHarness {
    async fn client(&self) -> HarnessResult<TestClient> {
        let client = self.registry.client();
        let editor = Arc::new(client.clone());
        let client = Self::test_client(client.clone(), Arc::new(client));
        Ok(client.editing_as(editor))
    }

    fn too_large_value_len(&self) -> Option<usize> {
        Some(2 * 1024 * 1024)
    }

    async fn put(&self, key: &Key, value: Bytes) -> HarnessResult {
        self.registry.put(key, value)?;
        Ok(())
    }

    async fn delete(&self, key: &Key) -> HarnessResult {
        self.registry.delete(key);
        Ok(())
    }

    async fn transact(&self, puts: &[(Key, Bytes)], deletes: &[Key]) -> HarnessResult {
        let puts = puts
            .iter()
            .map(|(key, value)| Change::Put(Entry::new(key.clone(), value.clone())));
        let deletes = deletes.iter().cloned().map(Change::Delete);
        self.registry.transact(puts.chain(deletes));
        Ok(())
    }

    async fn read(&self, key: &Key) -> HarnessResult<Option<Bytes>> {
        Ok(self.registry.get(key.as_str()).map(|stored| stored.value))
    }

    async fn expire(&self, lease: &LeaseId) -> HarnessResult {
        self.registry.expire_lease(lease);
        Ok(())
    }

    async fn leases(&self) -> HarnessResult<Vec<LeaseId>> {
        Ok(self.registry.leases())
    }

    async fn watchers(&self) -> HarnessResult<usize> {
        Ok(self.registry.watchers())
    }

    async fn compact(&self) -> HarnessResult {
        self.registry.compact();
        Ok(())
    }

    async fn interrupt(&self) -> HarnessResult {
        self.registry.disconnect_watchers();
        Ok(())
    }

    async fn disrupt(&self) -> HarnessResult {
        self.registry.freeze();
        Ok(())
    }

    async fn restore(&self) -> HarnessResult {
        self.registry.thaw();
        Ok(())
    }

    async fn rebuild(&self, revision: NewRevision) -> HarnessResult {
        let known = self.registry.revision();
        self.registry.rebuild_empty();
        while revision == NewRevision::Higher && self.registry.revision() <= known {
            self.registry.put("/strangers", "at work")?;
        }
        Ok(())
    }
}
