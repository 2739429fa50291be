//! The memory registry under the conformance suite.

use sd_conformance::{Counter, Harness, Means, Subject};
use sd_core::{Bytes, Change, Entry, Key, LeaseId, async_trait};
use sd_memory::{MemoryClient, Registry};
use std::sync::Arc;

/// A memory registry, all its clients, and every means that the suite can ask for but keys that are
/// not text, which it cannot hold.
#[derive(Debug, Default)]
pub struct MemoryHarness {
    registry: Registry,
}

impl MemoryHarness {
    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What the suite holds if it is to use `client` by way of `shown`.
    pub(crate) fn subject(client: MemoryClient, shown: Arc<dyn sd_core::Client>) -> Subject {
        let (closing, crashing) = (client.clone(), client);
        Subject::new(shown)
            .closed_by(async move { closing.close().await })
            .crashed_by(async move { crashing.crash() })
    }
}

#[async_trait]
impl Harness for MemoryHarness {
    async fn client(&self) -> Means<Subject> {
        let client = self.registry.client();
        Ok(Self::subject(client.clone(), Arc::new(client)))
    }

    fn too_big(&self) -> Option<usize> {
        Some(2 * 1024 * 1024)
    }

    async fn put(&self, key: &Key, value: Bytes) -> Means {
        self.registry.put(key, value)?;
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Means {
        self.registry.delete(key);
        Ok(())
    }

    async fn transact(&self, puts: &[(Key, Bytes)], deletes: &[Key]) -> Means {
        let puts = puts
            .iter()
            .map(|(key, value)| Change::Put(Entry::new(key.clone(), value.clone())));
        let deletes = deletes.iter().cloned().map(Change::Delete);
        self.registry.transact(puts.chain(deletes));
        Ok(())
    }

    async fn read(&self, key: &Key) -> Means<Option<Bytes>> {
        Ok(self.registry.get(key.as_str()).map(|stored| stored.value))
    }

    async fn expire(&self, lease: &LeaseId) -> Means {
        self.registry.expire_lease(lease);
        Ok(())
    }

    async fn leases(&self) -> Means<Vec<LeaseId>> {
        Ok(self.registry.leases())
    }

    async fn watchers(&self) -> Means<usize> {
        Ok(self.registry.watchers())
    }

    async fn compact(&self) -> Means {
        self.registry.compact();
        Ok(())
    }

    async fn interrupt(&self) -> Means {
        self.registry.disconnect_watchers();
        Ok(())
    }

    async fn disrupt(&self) -> Means {
        self.registry.freeze();
        Ok(())
    }

    async fn restore(&self) -> Means {
        self.registry.thaw();
        Ok(())
    }

    async fn rebuild(&self, counter: Counter) -> Means {
        let known = self.registry.revision();
        self.registry.rebuild_empty();
        while counter == Counter::Ahead && self.registry.revision() <= known {
            self.registry.put("/strangers", "at work")?;
        }
        Ok(())
    }
}
