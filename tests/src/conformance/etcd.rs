//! The etcd backend's harness, on a real etcd.

use crate::{etcd::Etcd, network::Proxy};
use etcd_client::{Txn, TxnOp};
use sd_conformance::{Harness, HarnessResult, NewRevision, TestClient};
use sd_core::{Bytes, Key, LeaseId, async_trait};
use sd_etcd::EtcdClient;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// An etcd and its clients, each behind its own [`Proxy`], so that it can be cut off. Supports
/// every check.
#[derive(Debug)]
pub struct EtcdHarness {
    etcd: Etcd,
    proxies: Mutex<Vec<Arc<Proxy>>>,
}

impl EtcdHarness {
    /// Starts an etcd for the suite.
    pub async fn start() -> Self {
        Self {
            etcd: Etcd::start().await,
            proxies: Mutex::default(),
        }
    }

    fn proxies(&self) -> MutexGuard<'_, Vec<Arc<Proxy>>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Harness for EtcdHarness {
    async fn client(&self) -> HarnessResult<TestClient> {
        let proxy = Arc::new(Proxy::to(self.etcd.address()).await);
        self.proxies().push(proxy.clone());
        let client = EtcdClient::builder([proxy.endpoint()])
            .request_timeout(Duration::from_secs(2))
            .deregister_timeout(Duration::from_secs(1))
            .build()?;
        let closing = client.clone();
        let editor = Arc::new(client.clone());
        Ok(TestClient::new(Arc::new(client))
            .editing_as(editor)
            .closed_by(async move { closing.close().await })
            .crashed_by(async move {
                proxy.refuse().await;
                proxy.drop_connections();
            }))
    }

    fn too_large_value_len(&self) -> Option<usize> {
        Some(2 * 1024 * 1024)
    }

    fn concurrency(&self) -> usize {
        16
    }

    async fn put(&self, key: &Key, value: Bytes) -> HarnessResult {
        self.etcd.put(key.as_str(), value).await;
        Ok(())
    }

    async fn put_raw(&self, key: &[u8], value: Bytes) -> HarnessResult {
        self.etcd.put(key, value).await;
        Ok(())
    }

    async fn delete(&self, key: &Key) -> HarnessResult {
        self.etcd.delete(key.as_str()).await;
        Ok(())
    }

    async fn transact(&self, puts: &[(Key, Bytes)], deletes: &[Key]) -> HarnessResult {
        let puts = puts
            .iter()
            .map(|(key, value)| TxnOp::put(key.as_str(), value.clone(), None));
        let deletes = deletes.iter().map(|key| TxnOp::delete(key.as_str(), None));
        let operations: Vec<TxnOp> = puts.chain(deletes).collect();
        let txn = Txn::new().and_then(operations);
        self.etcd.client().await.kv_client().txn(txn).await?;
        Ok(())
    }

    async fn read(&self, key: &Key) -> HarnessResult<Option<Bytes>> {
        Ok(self.etcd.get(key.as_str()).await.map(Bytes::from))
    }

    async fn expire(&self, lease: &LeaseId) -> HarnessResult {
        self.etcd.revoke(lease.as_str().parse()?).await;
        Ok(())
    }

    async fn leases(&self) -> HarnessResult<Vec<LeaseId>> {
        let leases = self.etcd.leases().await;
        Ok(leases.into_iter().map(LeaseId::from).collect())
    }

    async fn watchers(&self) -> HarnessResult<usize> {
        Ok(self.etcd.metrics().await.watchers() as usize)
    }

    async fn compact(&self) -> HarnessResult {
        self.etcd.compact().await;
        Ok(())
    }

    async fn interrupt(&self) -> HarnessResult {
        for proxy in self.proxies().iter() {
            proxy.drop_connections();
        }
        Ok(())
    }

    async fn disrupt(&self) -> HarnessResult {
        self.etcd.freeze();
        Ok(())
    }

    async fn restore(&self) -> HarnessResult {
        self.etcd.thaw();
        Ok(())
    }

    async fn rebuild(&self, revision: NewRevision) -> HarnessResult {
        let known = self.etcd.revision().await;
        self.etcd.wipe().await;
        if revision == NewRevision::Higher {
            while self.etcd.revision().await <= known + 1 {
                self.etcd.put("/strangers", "busy").await;
            }
        }
        Ok(())
    }
}
