//! Clients that list wrongly, and one that does nothing at all.

use super::{Flaw, Right};
use futures::stream;
use sd_core::{
    Client, Deregistered, FencedEntry, Key, LeaseId, NoReclaim, Prefix, ProofSender, Registration,
    Result, Revision, Service, Snapshot, Watch, WatchError, async_trait,
};
use tokio::time::Instant;

/// Answers everything and does nothing.
#[derive(Debug, Default)]
pub struct DoesNothing;

#[async_trait]
impl Flaw for DoesNothing {
    async fn list(&self, right: &Right, prefix: &Prefix) -> Result<Snapshot> {
        let mut snapshot = right.client.get_entries(prefix).await?;
        snapshot.entries.clear();
        Ok(snapshot)
    }

    async fn watch(&self, _: &Right, _: &Prefix, _: &Revision) -> Result<Watch, WatchError> {
        Ok(Watch::new(stream::pending()))
    }

    async fn register(&self, _: &Right, service: &Service) -> Result<Registration> {
        let lease = LeaseId::from(1);
        let key = service.key.under(&lease);
        let proof = ProofSender::new(lease, service.ttl.duration(), Instant::now());
        let (sender, registration) = Registration::channel(key, proof.proof(), NoReclaim);
        tokio::spawn(async move { sender.dropped().await });
        Ok(registration)
    }

    async fn deregister(&self, _: &Right, _: &Service) -> Result<Deregistered> {
        Ok(Deregistered::Removed)
    }

    fn lease_id(&self, _: &Right) -> Option<LeaseId> {
        Some(LeaseId::from(1))
    }

    async fn read(&self, _: &Right, _: &Key) -> Result<Option<FencedEntry>> {
        Ok(None)
    }
}

/// Lists all leased entries as those of one lease.
#[derive(Debug, Default)]
pub struct MixesUpLeases;

#[async_trait]
impl Flaw for MixesUpLeases {
    async fn list(&self, right: &Right, prefix: &Prefix) -> Result<Snapshot> {
        let mut snapshot = right.client.get_entries(prefix).await?;
        for entry in &mut snapshot.entries {
            entry.lease = entry.lease.take().map(|_| LeaseId::from(1));
        }
        Ok(snapshot)
    }
}

/// Reads one page and returns it as the whole list.
#[derive(Debug, Default)]
pub struct ListsOnePage;

#[async_trait]
impl Flaw for ListsOnePage {
    async fn list(&self, right: &Right, prefix: &Prefix) -> Result<Snapshot> {
        let mut snapshot = right.client.get_entries(prefix).await?;
        snapshot.entries.truncate(1_000);
        Ok(snapshot)
    }
}

/// Reads two pages at two revisions.
#[derive(Debug, Default)]
pub struct ListsAtTwoRevisions;

#[async_trait]
impl Flaw for ListsAtTwoRevisions {
    async fn list(&self, right: &Right, prefix: &Prefix) -> Result<Snapshot> {
        let mut first = right.client.get_entries(prefix).await?;
        if first.entries.len() > 1_000 {
            tokio::task::yield_now().await;
            let second = right.client.get_entries(prefix).await?;
            first.entries.truncate(1_000);
            first.entries.extend_from_slice(&second.entries[1_000..]);
        }
        Ok(first)
    }
}

/// Compares prefixes as text: `foobar` is under `foo`.
#[derive(Debug, Default)]
pub struct IgnoresPathBoundaries;

impl IgnoresPathBoundaries {
    fn raw(prefix: &Prefix) -> Result<Prefix> {
        Ok(Prefix::raw(prefix.as_str().trim_end_matches('/'))?)
    }
}

#[async_trait]
impl Flaw for IgnoresPathBoundaries {
    async fn list(&self, right: &Right, prefix: &Prefix) -> Result<Snapshot> {
        right.client.get_entries(&Self::raw(prefix)?).await
    }

    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let raw = Self::raw(prefix).map_err(WatchError::Interrupted)?;
        right.client.watch_prefix(&raw, after).await
    }
}
