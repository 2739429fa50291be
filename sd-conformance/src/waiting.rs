//! Waits with an end.

use super::{
    bench::Bench,
    stop::{Outcome, Stop, ensure},
};
use bytes::Bytes;
use sd_core::{Key, LeaseId};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// A wait for a condition, with an end.
pub(super) struct Waiting {
    since: Instant,
    limit: Duration,
}

impl Waiting {
    /// Some time until the next look; broken once the wait is over.
    pub(super) async fn on(&self, what: String) -> Outcome {
        let limit = self.limit;
        ensure!(self.since.elapsed() < limit, "{what}, even after {limit:?}");
        sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }
}

impl Bench<'_> {
    pub(super) fn waiting(&self, limit: Duration) -> Waiting {
        Waiting {
            since: Instant::now(),
            limit,
        }
    }

    pub(super) async fn within<T>(&self, what: &str, call: impl Future<Output = T>) -> Outcome<T> {
        let patience = self.patience();
        timeout(patience, call)
            .await
            .map_err(|_| Stop::Broken(format!("no {what} within {patience:?}")))
    }

    /// Time for what must not happen to happen.
    pub(super) async fn while_quiet(&self) {
        sleep(self.quiet()).await;
    }

    /// Waits until nothing stands under `key`, as long as the shortest lease and its end may take.
    pub(super) async fn until_absent(&self, key: &Key) -> Outcome {
        let waiting = self.waiting(self.short().duration() + self.patience());
        while self.read(key).await?.is_some() {
            waiting.on(format!("{key} is still there")).await?;
        }
        Ok(())
    }

    /// Waits until the lease is gone, at most for `limit`.
    pub(super) async fn until_no_lease(&self, lease: &LeaseId, limit: Duration) -> Outcome {
        let waiting = self.waiting(limit);
        while self.leases().await?.contains(lease) {
            waiting.on(format!("lease {lease} still lives")).await?;
        }
        Ok(())
    }

    /// Broken unless `value` stands under `key` now.
    pub(super) async fn ensure_stands(&self, key: &Key, value: impl Into<Bytes>) -> Outcome {
        let (found, value) = (self.read(key).await?, value.into());
        ensure!(
            found.as_ref() == Some(&value),
            "{value:?} should stand under {key}, but there is {found:?}"
        );
        Ok(())
    }

    /// Broken if anything stands under `key` now.
    pub(super) async fn ensure_absent(&self, key: &Key) -> Outcome {
        let found = self.read(key).await?;
        ensure!(
            found.is_none(),
            "nothing should stand under {key}, but there is {found:?}"
        );
        Ok(())
    }
}
