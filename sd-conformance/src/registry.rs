//! The registry under test, read and disturbed through the harness.

use crate::{
    clients::Entries,
    context::Context,
    deadline::Deadline,
    error::{CheckError, CheckResult, ensure},
    harness::NewRevision,
};
use bytes::Bytes;
use sd_core::{Key, LeaseId, Prefix};
use std::time::Duration;

impl Context<'_> {
    pub(crate) async fn put(&self, key: &Key, value: impl Into<Bytes>) -> CheckResult {
        self.remember_keys([key.clone()]);
        self.harness_call("put", self.harness().put(key, value.into()))
            .await
    }

    pub(crate) async fn put_raw(&self, key: &[u8], value: impl Into<Bytes>) -> CheckResult {
        self.harness_call("put_raw", self.harness().put_raw(key, value.into()))
            .await
    }

    pub(crate) async fn delete(&self, key: &Key) -> CheckResult {
        self.harness_call("delete", self.harness().delete(key))
            .await
    }

    pub(crate) async fn transact(&self, puts: &[(Key, Bytes)], deletes: &[Key]) -> CheckResult {
        self.remember_keys(puts.iter().map(|(key, _)| key.clone()));
        self.harness_call("transact", self.harness().transact(puts, deletes))
            .await
    }

    /// Writes many entries: 100 at once if the harness supports it, else one by one.
    pub(crate) async fn put_all(&self, entries: &Entries) -> CheckResult {
        let entries: Vec<_> = entries.clone().into_iter().collect();
        for entries in entries.chunks(100) {
            match self.transact(entries, &[]).await {
                Err(CheckError::NotRun(_)) => {
                    for (key, value) in entries {
                        self.put(key, value.clone()).await?;
                    }
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// The value under `key`, read by the harness or else by a new client.
    pub(crate) async fn read(&self, key: &Key) -> CheckResult<Option<Bytes>> {
        match self.harness_call("read", self.harness().read(key)).await {
            Err(CheckError::NotRun(_)) => {
                let client = self.client().await?;
                let mut listed = self.list(&client, &Prefix::raw(key)?).await?;
                Ok(listed.remove(key))
            }
            value => value,
        }
    }

    pub(crate) async fn expire(&self, lease: &LeaseId) -> CheckResult {
        self.harness_call("expire", self.harness().expire(lease))
            .await
    }

    pub(crate) async fn leases(&self) -> CheckResult<Vec<LeaseId>> {
        self.harness_call("leases", self.harness().leases()).await
    }

    pub(crate) async fn watchers(&self) -> CheckResult<usize> {
        self.harness_call("watchers", self.harness().watchers())
            .await
    }

    /// How many watchers there are once those of earlier clients are gone.
    pub(crate) async fn settled_watchers(&self) -> CheckResult<usize> {
        let deadline = Deadline::after(self.timeout());
        let mut before = self.watchers().await?;
        loop {
            self.wait_quiet_period().await;
            let after = self.watchers().await?;
            if after == before {
                return Ok(after);
            }
            before = after;
            deadline
                .retry(format!("{after} watchers, and changing"))
                .await?;
        }
    }

    pub(crate) async fn compact(&self) -> CheckResult {
        self.harness_call("compact", self.harness().compact()).await
    }

    pub(crate) async fn interrupt(&self) -> CheckResult {
        self.harness_call("interrupt", self.harness().interrupt())
            .await
    }

    /// Disrupts the registry. At the latest, the disruption ends with the check.
    pub(crate) async fn disrupt(&self) -> CheckResult {
        self.set_disrupted(true);
        self.harness_call("disrupt", self.harness().disrupt()).await
    }

    pub(crate) async fn restore(&self) -> CheckResult {
        self.harness_call("restore", self.harness().restore())
            .await?;
        self.set_disrupted(false);
        Ok(())
    }

    pub(crate) async fn rebuild(&self, revision: NewRevision) -> CheckResult {
        self.harness_call("rebuild", self.harness().rebuild(revision))
            .await
    }
}

// === what the registry must hold ===

impl Context<'_> {
    /// Waits until nothing is stored under `key`, for the shortest TTL and a timeout.
    pub(crate) async fn until_absent(&self, key: &Key) -> CheckResult {
        let deadline = Deadline::after(self.min_ttl().duration() + self.timeout());
        while self.read(key).await?.is_some() {
            deadline.retry(format!("{key} is still there")).await?;
        }
        Ok(())
    }

    /// Waits until the lease is gone, at most for `limit`.
    pub(crate) async fn until_no_lease(&self, lease: &LeaseId, limit: Duration) -> CheckResult {
        let deadline = Deadline::after(limit);
        while self.leases().await?.contains(lease) {
            deadline.retry(format!("lease {lease} still lives")).await?;
        }
        Ok(())
    }

    /// Fails the check unless `value` is stored under `key` now.
    pub(crate) async fn ensure_value(&self, key: &Key, value: impl Into<Bytes>) -> CheckResult {
        let (found, value) = (self.read(key).await?, value.into());
        ensure!(
            found.as_ref() == Some(&value),
            "{key} should hold {value:?}, but holds {found:?}"
        );
        Ok(())
    }

    /// Fails the check if anything is stored under `key` now.
    pub(crate) async fn ensure_absent(&self, key: &Key) -> CheckResult {
        let found = self.read(key).await?;
        ensure!(
            found.is_none(),
            "{key} should be absent, but holds {found:?}"
        );
        Ok(())
    }
}
