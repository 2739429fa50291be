//! Clients that break one promise each, to see the conformance suite notice.
//!
//! Every [`Flaw`] changes one answer of a correct client, as a plausible mistake would.

use crate::MemoryHarness;
use futures::{StreamExt, stream};
use sd_core::{
    Batch, Bytes, Client, Deregistered, Error, Key, LeaseId, Prefix, Reclaim, Reclaimed,
    Registration, Result, Revision, Service, Snapshot, Watch, WatchError, async_trait,
    conformance::{Counter, Harness, Means, Subject},
};
use sd_memory::{MemoryClient, Registry};
use std::{
    future,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// What a wrong client does with what the right one would answer.
#[async_trait]
pub trait Flaw: Default + Send + Sync + 'static {
    /// [`Client::get_entries`].
    async fn list(&self, right: &Right, prefix: &Prefix) -> Result<Snapshot> {
        right.client.get_entries(prefix).await
    }

    /// [`Client::watch_prefix`].
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        right.client.watch_prefix(prefix, after).await
    }

    /// [`Client::register`].
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        right.client.register(service).await
    }

    /// [`Client::deregister`].
    async fn deregister(&self, right: &Right, service: &Service) -> Result<Deregistered> {
        right.client.deregister(service).await
    }

    /// [`Client::lease_id`].
    fn lease_id(&self, right: &Right) -> Option<LeaseId> {
        right.client.lease_id()
    }
}

/// The client as it should be, and the registry it is of.
#[derive(Debug, Clone)]
pub struct Right {
    registry: Registry,
    client: MemoryClient,
}

struct Wrong<F>(Right, F);

#[async_trait]
impl<F: Flaw> Client for Wrong<F> {
    async fn get_entries(&self, prefix: &Prefix) -> Result<Snapshot> {
        self.1.list(&self.0, prefix).await
    }

    async fn watch_prefix(&self, prefix: &Prefix, after: &Revision) -> Result<Watch, WatchError> {
        self.1.watch(&self.0, prefix, after).await
    }

    async fn register(&self, service: &Service) -> Result<Registration> {
        self.1.register(&self.0, service).await
    }

    async fn deregister(&self, service: &Service) -> Result<Deregistered> {
        self.1.deregister(&self.0, service).await
    }

    fn lease_id(&self) -> Option<LeaseId> {
        self.1.lease_id(&self.0)
    }
}

/// The memory registry, seen through clients with the flaw `F`.
#[derive(Debug, Default)]
pub struct FlawedHarness<F> {
    right: MemoryHarness,
    flaw: std::marker::PhantomData<F>,
}

#[async_trait]
impl<F: Flaw> Harness for FlawedHarness<F> {
    async fn client(&self) -> Means<Subject> {
        let registry = self.right.registry().clone();
        let client = registry.client();
        let right = Right {
            registry,
            client: client.clone(),
        };
        let wrong = Arc::new(Wrong(right, F::default()));
        Ok(MemoryHarness::subject(client, wrong))
    }

    fn too_big(&self) -> Option<usize> {
        self.right.too_big()
    }

    async fn put(&self, key: &Key, value: Bytes) -> Means {
        self.right.put(key, value).await
    }

    async fn delete(&self, key: &Key) -> Means {
        self.right.delete(key).await
    }

    async fn transact(&self, puts: &[(Key, Bytes)], deletes: &[Key]) -> Means {
        self.right.transact(puts, deletes).await
    }

    async fn read(&self, key: &Key) -> Means<Option<Bytes>> {
        self.right.read(key).await
    }

    async fn expire(&self, lease: &LeaseId) -> Means {
        self.right.expire(lease).await
    }

    async fn leases(&self) -> Means<Vec<LeaseId>> {
        self.right.leases().await
    }

    async fn watchers(&self) -> Means<usize> {
        self.right.watchers().await
    }

    async fn compact(&self) -> Means {
        self.right.compact().await
    }

    async fn interrupt(&self) -> Means {
        self.right.interrupt().await
    }

    async fn disrupt(&self) -> Means {
        self.right.disrupt().await
    }

    async fn restore(&self) -> Means {
        self.right.restore().await
    }

    async fn rebuild(&self, counter: Counter) -> Means {
        self.right.rebuild(counter).await
    }
}

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
        let (sender, registration) = Registration::channel(key, lease, sd_core::NoReclaim);
        tokio::spawn(async move { sender.dropped().await });
        Ok(registration)
    }

    async fn deregister(&self, _: &Right, _: &Service) -> Result<Deregistered> {
        Ok(Deregistered::Removed)
    }

    fn lease_id(&self, _: &Right) -> Option<LeaseId> {
        Some(LeaseId::from(1))
    }
}

// === lists ===

/// Asks for one page and takes it for all.
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

/// Takes the prefix for text: `foobar` is under `foo`.
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

// === watches ===

/// Watches from now on, not from where the list was read.
#[derive(Debug, Default)]
pub struct LosesChangesBeforeTheWatch;

#[async_trait]
impl Flaw for LosesChangesBeforeTheWatch {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        // Gaps are still told from what the caller knows.
        drop(right.client.watch_prefix(prefix, after).await?);
        let now = right.client.get_entries(prefix).await;
        let now = now.map_err(WatchError::Interrupted)?.revision;
        right.client.watch_prefix(prefix, &now).await
    }
}

/// Changes a right watch item by item.
async fn with_items<S>(
    right: &Right,
    prefix: &Prefix,
    after: &Revision,
    change: impl Fn(Result<Batch, WatchError>) -> S + Send + 'static,
) -> Result<Watch, WatchError>
where
    S: IntoIterator<Item = ControlFlow<(), Result<Batch, WatchError>>>,
    S::IntoIter: Send + 'static,
{
    let watch = right.client.watch_prefix(prefix, after).await?;
    let items = watch.flat_map(move |item| stream::iter(change(item)));
    Ok(Watch::new(items.filter_map(async |item| match item {
        ControlFlow::Continue(item) => Some(item),
        ControlFlow::Break(()) => future::pending().await,
    })))
}

/// Passes on every change as it comes, with the revision it came at.
#[derive(Debug, Default)]
pub struct SplitsRevisions;

#[async_trait]
impl Flaw for SplitsRevisions {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        with_items(right, prefix, after, |item| match item {
            Ok(batch) if !batch.changes.is_empty() => {
                let one = |change| Batch::new(vec![change], batch.resume.clone());
                let split = batch.changes.into_iter().map(one);
                split.map(Ok).map(ControlFlow::Continue).collect()
            }
            item => vec![ControlFlow::Continue(item)],
        })
        .await
    }
}

/// Says at the end of a watch where it began, so that the next one repeats.
#[derive(Debug, Default)]
pub struct RepeatsChangesOnResume;

#[async_trait]
impl Flaw for RepeatsChangesOnResume {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let began = after.clone();
        with_items(right, prefix, after, move |item| {
            let item = item.map(|batch| Batch {
                resume: began.clone(),
                ..batch
            });
            [ControlFlow::Continue(item)]
        })
        .await
    }
}

/// Waits for news when the registry has none left.
#[derive(Debug, Default)]
pub struct AnswersGapsWithSilence;

#[async_trait]
impl Flaw for AnswersGapsWithSilence {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let quiet = with_items(right, prefix, after, |item| match item {
            Err(WatchError::Gap(_)) => [ControlFlow::Break(())],
            item => [ControlFlow::Continue(item)],
        });
        match quiet.await {
            Err(WatchError::Gap(_)) => Ok(Watch::new(stream::pending())),
            watch => watch,
        }
    }
}

/// Waits for a registry that does not answer, and says nothing.
#[derive(Debug, Default)]
pub struct IsSilentInOutages;

#[async_trait]
impl Flaw for IsSilentInOutages {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        with_items(right, prefix, after, |item| match item {
            Err(WatchError::Disrupted(_)) => vec![],
            Err(WatchError::Interrupted(Error::Timeout { .. })) => vec![ControlFlow::Break(())],
            item => vec![ControlFlow::Continue(item)],
        })
        .await
    }
}

/// Reads a watch on a task of its own, whether anybody listens or not.
#[derive(Debug, Default)]
pub struct LeaksItsWatch;

#[async_trait]
impl Flaw for LeaksItsWatch {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let mut watch = right.client.watch_prefix(prefix, after).await?;
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(item) = watch.next().await {
                let _ = sender.send(item);
            }
        });
        Ok(Watch::new(stream::poll_fn(move |cx| {
            receiver.poll_recv(cx)
        })))
    }
}

/// Takes every token for its own.
#[derive(Debug, Default)]
pub struct PanicsAtForeignTokens;

#[async_trait]
impl Flaw for PanicsAtForeignTokens {
    async fn watch(
        &self,
        right: &Right,
        prefix: &Prefix,
        after: &Revision,
    ) -> Result<Watch, WatchError> {
        let watch = right.client.watch_prefix(prefix, after).await;
        match watch {
            Err(WatchError::Gap(sd_core::Gap::ForeignToken)) => panic!("not my token"),
            watch => watch,
        }
    }
}

// === registrations ===

/// Deletes the key, whoever holds it by now.
#[derive(Debug, Default)]
pub struct RemovesItsSuccessor;

#[async_trait]
impl Flaw for RemovesItsSuccessor {
    async fn deregister(&self, right: &Right, service: &Service) -> Result<Deregistered> {
        let outcome = right.client.deregister(service).await;
        right.registry.delete(service.key.stem());
        outcome
    }
}

/// Puts the entry back once the registry answers again.
#[derive(Debug, Default)]
pub struct PutsAfterDeregister;

#[async_trait]
impl Flaw for PutsAfterDeregister {
    async fn deregister(&self, right: &Right, service: &Service) -> Result<Deregistered> {
        let outcome = right.client.deregister(service).await?;
        if outcome == Deregistered::Unconfirmed {
            let (other, service) = (right.registry.client(), service.clone());
            tokio::spawn(async move {
                while other
                    .register(&service)
                    .await
                    .map(std::mem::forget)
                    .is_err()
                {}
                future::pending::<()>().await;
            });
        }
        Ok(outcome)
    }
}

/// Waits for the registry for as long as it takes.
#[derive(Debug, Default)]
pub struct DeregistersWithoutBound;

#[async_trait]
impl Flaw for DeregistersWithoutBound {
    async fn deregister(&self, right: &Right, service: &Service) -> Result<Deregistered> {
        match right.client.deregister(service).await? {
            Deregistered::Unconfirmed => future::pending().await,
            outcome => Ok(outcome),
        }
    }
}

/// Keeps what it registers alive until it is told otherwise, handle or no handle.
#[derive(Default)]
pub struct KeepsDroppedRegistrations(Mutex<Vec<Arc<Registration>>>);

#[async_trait]
impl Flaw for KeepsDroppedRegistrations {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = Arc::new(right.client.register(service).await?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(registration.clone());
        Ok(handle(registration.clone(), Forwarded(registration), true))
    }
}

/// Takes a lease for every service.
#[derive(Debug, Default)]
pub struct TakesALeasePerService(Mutex<Vec<(Service, MemoryClient)>>);

#[async_trait]
impl Flaw for TakesALeasePerService {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let client = right.registry.client();
        let registration = client.register(service).await?;
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients.push((service.clone(), client));
        Ok(registration)
    }

    async fn deregister(&self, _: &Right, service: &Service) -> Result<Deregistered> {
        let client = {
            let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let place = clients.iter().rposition(|(s, _)| s.key == service.key);
            place.map(|place| clients.remove(place).1)
        };
        match client {
            Some(client) => client.deregister(service).await,
            None => Ok(Deregistered::NotOurs),
        }
    }

    fn lease_id(&self, _: &Right) -> Option<LeaseId> {
        let clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        clients.iter().rev().find_map(|(_, c)| c.lease_id())
    }
}

/// Lets the lease run out and does not notice.
#[derive(Debug, Default)]
pub struct ForgetsToKeepAlive;

#[async_trait]
impl Flaw for ForgetsToKeepAlive {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = right.client.register(service).await?;
        let (registry, lease) = (right.registry.clone(), registration.lease_id().clone());
        let ttl = service.ttl.duration();
        tokio::spawn(async move {
            tokio::time::sleep(ttl).await;
            registry.expire_lease(&lease);
        });
        Ok(registration)
    }
}

/// Never says that a registration is lost.
#[derive(Debug, Default)]
pub struct NeverSpeaksOfALoss;

#[async_trait]
impl Flaw for NeverSpeaksOfALoss {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = Arc::new(right.client.register(service).await?);
        Ok(handle(registration.clone(), Forwarded(registration), false))
    }
}

/// Takes an unanswered question for the end of its lease.
#[derive(Debug, Default)]
pub struct TakesSilenceForALoss;

#[async_trait]
impl Flaw for TakesSilenceForALoss {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = right.client.register(service).await?;
        let (asking, lease) = (right.client.clone(), registration.lease_id().clone());
        let prefix = Prefix::raw(registration.key())?;
        let (sender, handle) = Registration::channel(
            registration.key().clone(),
            lease,
            Forwarded(Arc::new(registration)),
        );
        tokio::spawn(async move {
            let pause = Duration::from_millis(100);
            while let Ok(Ok(_)) = timeout(pause, asking.get_entries(&prefix)).await {
                tokio::time::sleep(pause).await;
            }
            sender.send(sd_core::Lost::LeaseExpired);
        });
        Ok(handle)
    }
}

/// Deletes the key of a handle that is dropped, whatever became of it.
#[derive(Debug, Default)]
pub struct RemovesWithEveryHandle;

#[async_trait]
impl Flaw for RemovesWithEveryHandle {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = Arc::new(right.client.register(service).await?);
        let removing = Removing(right.registry.clone(), registration.clone());
        Ok(handle(registration, removing, true))
    }
}

struct Removing(Registry, Arc<Registration>);

#[async_trait]
impl Reclaim for Removing {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        self.1.reclaim(value).await
    }
}

impl Drop for Removing {
    fn drop(&mut self) {
        self.0.delete(self.1.key());
    }
}

/// Reclaims by registering, whoever holds the key.
#[derive(Debug, Default)]
pub struct ReclaimsWhatASuccessorHolds;

#[async_trait]
impl Flaw for ReclaimsWhatASuccessorHolds {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = Arc::new(right.client.register(service).await?);
        let grabbing = Grabbing {
            right: right.clone(),
            service: service.clone(),
            registration: registration.clone(),
        };
        Ok(handle(registration, grabbing, true))
    }
}

struct Grabbing {
    right: Right,
    service: Service,
    registration: Arc<Registration>,
}

#[async_trait]
impl Reclaim for Grabbing {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        match self.registration.reclaim(value.clone()).await? {
            Reclaimed::Taken { .. } => {
                let service = self.service.clone().with_value(value);
                Ok(Reclaimed::Held(self.right.client.register(&service).await?))
            }
            held => Ok(held),
        }
    }
}

struct Forwarded(Arc<Registration>);

#[async_trait]
impl Reclaim for Forwarded {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        self.0.reclaim(value).await
    }
}

/// A handle before `registration`, that passes on its loss if it `speaks`.
fn handle(registration: Arc<Registration>, reclaim: impl Reclaim, speaks: bool) -> Registration {
    let (key, lease) = (registration.key().clone(), registration.lease_id().clone());
    let (sender, handle) = Registration::channel(key, lease, reclaim);
    let registration = Arc::downgrade(&registration);
    tokio::spawn(async move {
        loop {
            let Some(registration) = registration.upgrade() else {
                return;
            };
            if let Some(lost) = registration.is_lost().filter(|_| speaks) {
                return sender.send(lost);
            }
            drop(registration);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    handle
}
