//! What a check works with: clients, and keys of its own.

use super::{
    follower::Follower,
    harness::{Harness, Means, Subject, Unmet},
    stop::{Outcome, Stop, ensure},
};
use bytes::Bytes;
use sd_core::{
    Client, Deregistered, Key, Lost, Prefix, Reclaimed, Registration, Revision, Service, Snapshot,
    Ttl, Watch,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

/// Keys and values as a list shows them.
pub(super) type Listed = BTreeMap<Key, Bytes>;

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
        let mut written = std::mem::take(&mut *self.written());
        written.sort();
        written.dedup();
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

    /// Remembers what to remove at the end.
    pub(super) fn wrote(&self, keys: impl IntoIterator<Item = Key>) {
        self.written().extend(keys);
    }

    /// Remembers whether there is a disruption to end.
    pub(super) fn disturbed(&self, disrupted: bool) {
        self.disrupted.store(disrupted, Ordering::Relaxed);
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
            Reclaimed::Taken { value, .. } => Err(Stop::Broken(format!(
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
