//! The context of a check: its own keys, the harness's settings, and limits on how long to wait.

use crate::{
    error::{CheckError, CheckResult},
    harness::{Harness, HarnessError, HarnessResult},
};
use bytes::Bytes;
use sd_core::{Key, Prefix, Service, Ttl};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// The context of one check: the harness, the check's own path below the harness's root, and what
/// to undo at the end.
pub(crate) struct Context<'h> {
    harness: &'h dyn Harness,
    root: String,
    written: Mutex<Vec<Key>>,
    disrupted: AtomicBool,
}

impl<'h> Context<'h> {
    pub(crate) fn new(harness: &'h dyn Harness, check: &str) -> Self {
        let root = harness.root();
        Self {
            harness,
            root: format!("{root}/{check}-{:08x}", fastrand::u32(..)),
            written: Mutex::default(),
            disrupted: AtomicBool::new(false),
        }
    }

    /// Ends a disruption and deletes what the check wrote, as far as the harness can.
    pub(crate) async fn clean_up(&self) {
        if self.disrupted.load(Ordering::Relaxed) {
            let _ = timeout(self.timeout(), self.harness.restore()).await;
        }
        let mut written = std::mem::take(&mut *self.written());
        written.sort();
        written.dedup();
        let _ = timeout(self.timeout(), async {
            for keys in written.chunks(100) {
                if self.harness.transact(&[], keys).await == Err(HarnessError::Unsupported) {
                    for key in keys {
                        self.harness.delete(key).await?;
                    }
                }
            }
            HarnessResult::Ok(())
        })
        .await;
    }

    /// Records keys for [`clean_up`](Self::clean_up) to delete.
    pub(crate) fn remember_keys(&self, keys: impl IntoIterator<Item = Key>) {
        self.written().extend(keys);
    }

    /// Records whether there is a disruption for [`clean_up`](Self::clean_up) to end.
    pub(crate) fn set_disrupted(&self, disrupted: bool) {
        self.disrupted.store(disrupted, Ordering::Relaxed);
    }

    fn written(&self) -> MutexGuard<'_, Vec<Key>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === keys and settings ===

impl Context<'_> {
    /// Every key that begins with `path` under the check's root.
    pub(crate) fn raw_prefix(&self, path: &str) -> CheckResult<Prefix> {
        Ok(Prefix::raw(format!("{}/{path}", self.root))?)
    }

    /// Every key below `path` under the check's root.
    pub(crate) fn prefix(&self, path: &str) -> CheckResult<Prefix> {
        Ok(Prefix::new(format!("{}/{path}", self.root))?)
    }

    /// The key `path` under the check's root.
    pub(crate) fn key(&self, path: &str) -> CheckResult<Key> {
        Ok(Key::new(format!("{}/{path}", self.root))?)
    }

    /// A service whose lease lives for as long as the check may take.
    pub(crate) fn service(&self, path: &str, value: impl Into<Bytes>) -> CheckResult<Service> {
        Ok(Service::new(self.key(path)?, value)?.with_ttl(self.ttl()?))
    }

    /// A time to live that outlasts an ordinary check. A third of it is well within the timeout: a
    /// backend that does not watch its own keys notices a loss that late.
    pub(crate) fn ttl(&self) -> CheckResult<Ttl> {
        let timeout = self.timeout().min(Ttl::MAX.duration());
        Ok(Ttl::new(timeout.max(self.min_ttl().duration()))?)
    }

    /// A time to live well above the timeout: an entry that goes within the timeout has not
    /// expired.
    pub(crate) fn long_ttl(&self) -> CheckResult<Ttl> {
        let long = self.timeout().max(self.min_ttl().duration()) * 3;
        Ok(Ttl::new(long.min(Ttl::MAX.duration()))?)
    }

    /// The shortest time to live that the registry grants.
    pub(crate) fn min_ttl(&self) -> Ttl {
        self.harness.min_ttl()
    }

    /// How long to wait for what must happen.
    pub(crate) fn timeout(&self) -> Duration {
        self.harness.timeout()
    }

    /// How long to watch that something does not happen.
    pub(crate) fn quiet_period(&self) -> Duration {
        self.harness.quiet_period()
    }

    pub(crate) fn harness(&self) -> &dyn Harness {
        self.harness
    }

    /// Calls the harness. A check whose call the harness does not support is not run.
    pub(crate) async fn harness_call<T>(
        &self,
        name: &str,
        call: impl Future<Output = HarnessResult<T>>,
    ) -> CheckResult<T> {
        call.await.map_err(|error| match error {
            HarnessError::Unsupported => CheckError::NotRun(format!("the harness has no `{name}`")),
            HarnessError::Failed(why) => {
                CheckError::Failed(format!("the harness's `{name}` failed: {why}"))
            }
        })
    }
}

// === time ===

impl Context<'_> {
    /// The output of `call`; fails the check if it takes longer than the timeout.
    pub(crate) async fn within<T>(
        &self,
        what: &str,
        call: impl Future<Output = T>,
    ) -> CheckResult<T> {
        let limit = self.timeout();
        timeout(limit, call)
            .await
            .map_err(|_| CheckError::Failed(format!("no {what} within {limit:?}")))
    }

    /// Waits for the time in which something that must not happen would happen.
    pub(crate) async fn wait_quiet_period(&self) {
        sleep(self.quiet_period()).await;
    }
}
