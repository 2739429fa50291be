//! The harness's means, as a check uses them.

use super::{
    bench::{Bench, Listed},
    harness::{Counter, Means, Unmet},
    stop::{Outcome, Stop},
};
use bytes::Bytes;
use sd_core::{Key, LeaseId, Prefix};
use std::future::Future;

impl Bench<'_> {
    pub(super) async fn put(&self, key: &Key, value: impl Into<Bytes>) -> Outcome {
        self.wrote([key.clone()]);
        self.means("put", self.harness().put(key, value.into()))
            .await
    }

    pub(super) async fn put_raw(&self, key: &[u8], value: impl Into<Bytes>) -> Outcome {
        self.means("put_raw", self.harness().put_raw(key, value.into()))
            .await
    }

    pub(super) async fn delete(&self, key: &Key) -> Outcome {
        self.means("delete", self.harness().delete(key)).await
    }

    pub(super) async fn transact(&self, puts: &[(Key, Bytes)], deletes: &[Key]) -> Outcome {
        self.wrote(puts.iter().map(|(key, _)| key.clone()));
        self.means("transact", self.harness().transact(puts, deletes))
            .await
    }

    /// Many entries, at once if the harness can, one by one otherwise.
    pub(super) async fn put_all(&self, entries: &Listed) -> Outcome {
        let entries: Vec<_> = entries.clone().into_iter().collect();
        for entries in entries.chunks(100) {
            match self.transact(entries, &[]).await {
                Err(Stop::NotRun(_)) => {
                    for (key, value) in entries {
                        self.put(key, value.clone()).await?;
                    }
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// What stands under `key`, by the harness's word or else a new client's.
    pub(super) async fn read(&self, key: &Key) -> Outcome<Option<Bytes>> {
        match self.means("read", self.harness().read(key)).await {
            Err(Stop::NotRun(_)) => {
                let client = self.client().await?;
                let mut listed = self.list(&client, &Prefix::raw(key)?).await?;
                Ok(listed.remove(key))
            }
            value => value,
        }
    }

    pub(super) async fn expire(&self, lease: &LeaseId) -> Outcome {
        self.means("expire", self.harness().expire(lease)).await
    }

    pub(super) async fn leases(&self) -> Outcome<Vec<LeaseId>> {
        self.means("leases", self.harness().leases()).await
    }

    pub(super) async fn watchers(&self) -> Outcome<usize> {
        self.means("watchers", self.harness().watchers()).await
    }

    /// How many watchers there are once those of earlier clients are gone.
    pub(super) async fn settled_watchers(&self) -> Outcome<usize> {
        let waiting = self.waiting(self.patience());
        let mut before = self.watchers().await?;
        loop {
            self.while_quiet().await;
            let after = self.watchers().await?;
            if after == before {
                return Ok(after);
            }
            before = after;
            waiting
                .on(format!("{after} watchers, and changing"))
                .await?;
        }
    }

    pub(super) async fn compact(&self) -> Outcome {
        self.means("compact", self.harness().compact()).await
    }

    pub(super) async fn interrupt(&self) -> Outcome {
        self.means("interrupt", self.harness().interrupt()).await
    }

    /// Undone at the end of the check at the latest.
    pub(super) async fn disrupt(&self) -> Outcome {
        self.disturbed(true);
        self.means("disrupt", self.harness().disrupt()).await
    }

    pub(super) async fn restore(&self) -> Outcome {
        self.means("restore", self.harness().restore()).await?;
        self.disturbed(false);
        Ok(())
    }

    pub(super) async fn rebuild(&self, counter: Counter) -> Outcome {
        self.means("rebuild", self.harness().rebuild(counter)).await
    }

    pub(super) async fn means<T>(
        &self,
        name: &str,
        means: impl Future<Output = Means<T>>,
    ) -> Outcome<T> {
        means.await.map_err(|unmet| match unmet {
            Unmet::Absent => Stop::NotRun(format!("the harness has no `{name}`")),
            Unmet::Failed(why) => Stop::Broken(format!("the harness's `{name}` failed: {why}")),
        })
    }
}
