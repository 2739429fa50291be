//! What a check works with: clients, keys of its own, the harness's means, and waits with an end.

use super::{
    follower::Follower,
    harness::{Counter, Harness, Means, Subject, Unmet},
};
use crate::{
    Client, Deregistered, Error, Invalid, Key, LeaseId, Lost, Prefix, Reclaimed, Registration,
    Revision, Service, Snapshot, Ttl, Watch, WatchError,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    error::Error as StdError,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// What a check, or a step of it, comes to.
pub(super) type Outcome<T = ()> = Result<T, Stop>;

/// Keys and values as a list shows them.
pub(super) type Listed = BTreeMap<Key, Bytes>;

/// Why a check goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// The promise is broken.
    Broken(String),
    /// The check cannot be run.
    NotRun(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsupported { operation } => {
                Self::NotRun(format!("the backend does not support {operation}"))
            }
            error => Self::Broken(chain(&error)),
        }
    }
}

impl From<WatchError> for Stop {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Interrupted(error @ Error::Unsupported { .. }) => error.into(),
            error => Self::Broken(chain(&error)),
        }
    }
}

impl From<Invalid> for Stop {
    fn from(invalid: Invalid) -> Self {
        Self::Broken(format!("the harness's settings do not do: {invalid}"))
    }
}

/// The error and all that caused it.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

/// Ends the check as broken, with a message, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::bench::Stop::Broken(format!($($message)+)));
        }
    };
}
pub(super) use ensure;

/// One check's place to work.
pub(super) struct Bench<'h> {
    harness: &'h dyn Harness,
    root: String,
    written: Mutex<Vec<Key>>,
    disrupted: AtomicBool,
}

impl<'h> Bench<'h> {
    pub(super) fn new(harness: &'h dyn Harness, check: &str) -> Self {
        let root = harness.root();
        Self {
            harness,
            root: format!("{root}/{check}-{:08x}", fastrand::u32(..)),
            written: Mutex::default(),
            disrupted: AtomicBool::new(false),
        }
    }

    /// Leaves the registry as the check found it, as far as the harness can.
    pub(super) async fn tidy(&self) {
        if self.disrupted.load(Ordering::Relaxed) {
            let _ = timeout(self.patience(), self.harness.restore()).await;
        }
        let written = std::mem::take(&mut *self.written());
        let _ = timeout(self.patience(), async {
            for keys in written.chunks(100) {
                if self.harness.transact(&[], keys).await == Err(Unmet::Absent) {
                    for key in keys {
                        self.harness.delete(key).await?;
                    }
                }
            }
            Means::Ok(())
        })
        .await;
    }

    fn written(&self) -> MutexGuard<'_, Vec<Key>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === what is the check's own ===

impl Bench<'_> {
    /// The path `path` under the check's root, exactly.
    pub(super) fn raw(&self, path: &str) -> Outcome<Prefix> {
        Ok(Prefix::raw(format!("{}/{path}", self.root))?)
    }

    pub(super) fn prefix(&self, path: &str) -> Outcome<Prefix> {
        Ok(Prefix::new(format!("{}/{path}", self.root))?)
    }

    pub(super) fn key(&self, path: &str) -> Outcome<Key> {
        Ok(Key::new(format!("{}/{path}", self.root))?)
    }

    /// A service whose lease lives for as long as the check may take.
    pub(super) fn service(&self, path: &str, value: impl Into<Bytes>) -> Outcome<Service> {
        Ok(Service::new(self.key(path)?, value)?.with_ttl(self.ttl()?))
    }

    /// A time to live that outlasts an ordinary check, and a third of which is well within the
    /// patience: that is when a backend without a watch of its own notices a loss.
    pub(super) fn ttl(&self) -> Outcome<Ttl> {
        let patience = self.patience().min(Ttl::MAX.duration());
        Ok(Ttl::new(patience.max(self.short().duration()))?)
    }

    /// A time to live that is so long that what goes within the patience has not expired.
    pub(super) fn long(&self) -> Outcome<Ttl> {
        let long = self.patience().max(self.short().duration()) * 3;
        Ok(Ttl::new(long.min(Ttl::MAX.duration()))?)
    }

    /// The shortest time to live.
    pub(super) fn short(&self) -> Ttl {
        self.harness.ttl()
    }

    pub(super) fn patience(&self) -> Duration {
        self.harness.patience()
    }

    pub(super) fn quiet(&self) -> Duration {
        self.harness.quiet()
    }

    pub(super) fn harness(&self) -> &dyn Harness {
        self.harness
    }
}

// === clients ===

impl Bench<'_> {
    pub(super) async fn client(&self) -> Outcome<Arc<dyn Client>> {
        Ok(self.subject().await?.client)
    }

    pub(super) async fn subject(&self) -> Outcome<Subject> {
        self.means("client", self.harness.client()).await
    }

    pub(super) async fn snapshot(&self, client: &dyn Client, prefix: &Prefix) -> Outcome<Snapshot> {
        Ok(self
            .within("get_entries", client.get_entries(prefix))
            .await??)
    }

    pub(super) async fn list(&self, client: &dyn Client, prefix: &Prefix) -> Outcome<Listed> {
        listed(&self.snapshot(client, prefix).await?)
    }

    pub(super) async fn watch(
        &self,
        client: &dyn Client,
        prefix: &Prefix,
        after: &Revision,
    ) -> Outcome<Watch> {
        let watch = client.watch_prefix(prefix, after);
        Ok(self.within("watch_prefix", watch).await??)
    }

    /// Lists and watches from there.
    pub(super) async fn follow(
        &self,
        client: &Arc<dyn Client>,
        prefix: &Prefix,
    ) -> Outcome<Follower<'_>> {
        let snapshot = self.snapshot(client, prefix).await?;
        self.follow_from(client, prefix, &snapshot).await
    }

    pub(super) async fn follow_from(
        &self,
        client: &Arc<dyn Client>,
        prefix: &Prefix,
        snapshot: &Snapshot,
    ) -> Outcome<Follower<'_>> {
        let mirror = listed(snapshot)?;
        Follower::start(self, client, prefix, mirror, &snapshot.revision).await
    }

    pub(super) async fn register(
        &self,
        client: &dyn Client,
        service: &Service,
    ) -> Outcome<Registration> {
        Ok(self.within("register", client.register(service)).await??)
    }

    pub(super) async fn deregister(
        &self,
        client: &dyn Client,
        service: &Service,
    ) -> Outcome<Deregistered> {
        Ok(self
            .within("deregister", client.deregister(service))
            .await??)
    }

    /// Why the registration is lost, as it must say before long.
    pub(super) async fn lost(&self, registration: &mut Registration) -> Outcome<Lost> {
        self.within("word of the loss", registration.lost()).await
    }

    pub(super) async fn reclaim(
        &self,
        registration: &Registration,
        value: impl Into<Bytes> + Send,
    ) -> Outcome<Reclaimed> {
        Ok(self
            .within("reclaim", registration.reclaim(value))
            .await??)
    }

    /// The registration that follows one that must be possible to put back.
    pub(super) async fn reclaim_held(
        &self,
        registration: &Registration,
        value: impl Into<Bytes> + Send,
    ) -> Outcome<Registration> {
        match self.reclaim(registration, value).await? {
            Reclaimed::Held(registration) => Ok(registration),
            Reclaimed::Taken { value } => Err(Stop::Broken(format!(
                "reclaim says that the key is taken, by {value:?}"
            ))),
        }
    }
}

/// What the list shows, each key once.
pub(super) fn listed(snapshot: &Snapshot) -> Outcome<Listed> {
    let mut listed = Listed::new();
    for entry in &snapshot.entries {
        let before = listed.insert(entry.key.clone(), entry.value.clone());
        ensure!(before.is_none(), "the list shows {} twice", entry.key);
    }
    Ok(listed)
}

// === the harness's means ===

impl Bench<'_> {
    pub(super) async fn put(&self, key: &Key, value: impl Into<Bytes>) -> Outcome {
        self.written().push(key.clone());
        self.means("put", self.harness.put(key, value.into())).await
    }

    pub(super) async fn put_raw(&self, key: &[u8], value: impl Into<Bytes>) -> Outcome {
        self.means("put_raw", self.harness.put_raw(key, value.into()))
            .await
    }

    pub(super) async fn delete(&self, key: &Key) -> Outcome {
        self.means("delete", self.harness.delete(key)).await
    }

    pub(super) async fn transact(&self, puts: &[(Key, Bytes)], deletes: &[Key]) -> Outcome {
        self.written()
            .extend(puts.iter().map(|(key, _)| key.clone()));
        self.means("transact", self.harness.transact(puts, deletes))
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
        match self.means("read", self.harness.read(key)).await {
            Err(Stop::NotRun(_)) => {
                let client = self.client().await?;
                let mut listed = self.list(&client, &Prefix::raw(key)?).await?;
                Ok(listed.remove(key))
            }
            value => value,
        }
    }

    pub(super) async fn expire(&self, lease: &LeaseId) -> Outcome {
        self.means("expire", self.harness.expire(lease)).await
    }

    pub(super) async fn leases(&self) -> Outcome<Vec<LeaseId>> {
        self.means("leases", self.harness.leases()).await
    }

    pub(super) async fn watchers(&self) -> Outcome<usize> {
        self.means("watchers", self.harness.watchers()).await
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
        self.means("compact", self.harness.compact()).await
    }

    pub(super) async fn interrupt(&self) -> Outcome {
        self.means("interrupt", self.harness.interrupt()).await
    }

    /// Undone at the end of the check at the latest.
    pub(super) async fn disrupt(&self) -> Outcome {
        self.disrupted.store(true, Ordering::Relaxed);
        self.means("disrupt", self.harness.disrupt()).await
    }

    pub(super) async fn restore(&self) -> Outcome {
        self.means("restore", self.harness.restore()).await?;
        self.disrupted.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn rebuild(&self, counter: Counter) -> Outcome {
        self.means("rebuild", self.harness.rebuild(counter)).await
    }

    async fn means<T>(&self, name: &str, means: impl Future<Output = Means<T>>) -> Outcome<T> {
        means.await.map_err(|unmet| match unmet {
            Unmet::Absent => Stop::NotRun(format!("the harness has no `{name}`")),
            Unmet::Failed(why) => Stop::Broken(format!("the harness's `{name}` failed: {why}")),
        })
    }
}

// === waiting ===

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
