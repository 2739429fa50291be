//! Clients that register, reclaim and deregister wrongly.

use super::{Flaw, Right};
use sd_core::{
    Bytes, Client, Deregistered, Error, LeaseId, LeaseProof, Lost, Prefix, ProofSender, Reclaim,
    Reclaimed, Registration, Result, Service, async_trait,
};
use sd_memory::{MemoryClient, Registry};
use std::{
    future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// Deletes the key, even if a successor holds it.
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

/// Sends a request again after it was given up, even if a later one was sent.
#[derive(Debug, Default)]
pub struct SendsWhatItGaveUp;

#[async_trait]
impl Flaw for SendsWhatItGaveUp {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let outcome = right.client.register(service).await;
        if outcome.as_ref().is_err_and(Error::is_transient) {
            let (other, service) = (right.registry.client(), service.clone());
            tokio::spawn(async move {
                let mut sent = 0;
                while sent < 2 {
                    if other.register(&service).await.map(std::mem::forget).is_ok() {
                        sent += 1;
                        sleep(Duration::from_millis(50)).await;
                    }
                }
                future::pending::<()>().await;
            });
        }
        outcome
    }
}

/// Waits for the registry without limit.
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

/// Keeps its registrations alive after their handles and the client are dropped.
#[derive(Debug, Default)]
pub struct OutlivesItsOwner;

#[async_trait]
impl Flaw for OutlivesItsOwner {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = Arc::new(right.client.register(service).await?);
        let kept = (right.client.clone(), registration.clone());
        tokio::spawn(async move {
            let _kept = kept;
            future::pending::<()>().await;
        });
        Ok(handle(registration.clone(), Forwarded(registration), true))
    }
}

/// Waits before it sends a deregistration, which is lost if the future is dropped meanwhile.
#[derive(Debug, Default)]
pub struct ForgetsADroppedDeregister;

#[async_trait]
impl Flaw for ForgetsADroppedDeregister {
    async fn deregister(&self, right: &Right, service: &Service) -> Result<Deregistered> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        right.client.deregister(service).await
    }
}

/// Uses one lease per service.
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
            let is_asked = |owner| service.owner().is_none_or(|asked| owner == Some(asked));
            let place = clients
                .iter()
                .rposition(|(s, _)| s.key == service.key && is_asked(s.owner()));
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

/// Does not keep the lease alive, and does not notice that it expires.
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

/// Reports a lost lease when the registry does not answer.
#[derive(Debug, Default)]
pub struct TakesSilenceForALoss;

#[async_trait]
impl Flaw for TakesSilenceForALoss {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = Arc::new(right.client.register(service).await?);
        let (asking, weak) = (right.client.clone(), Arc::downgrade(&registration));
        let (key, proof) = (registration.key().clone(), registration.proof().clone());
        let prefix = Prefix::raw(&key)?;
        let (sender, handle) = Registration::channel(key, &proof, Forwarded(registration));
        tokio::spawn(async move {
            let pause = Duration::from_millis(100);
            while let Some(registration) = weak.upgrade() {
                if let Some(lost) = registration.loss() {
                    return sender.send(lost);
                }
                drop(registration);
                if timeout(pause, asking.get_entries(&prefix)).await.is_err() {
                    return sender.send(Lost::LeaseExpired);
                }
                tokio::time::sleep(pause).await;
            }
        });
        Ok(handle)
    }
}

/// Deletes the key of a dropped handle, even if a successor holds it.
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

/// Reclaims by registering, even if a successor holds the key.
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
        match self.registration.reclaim(value.clone()).await {
            Ok(Reclaimed::Taken { .. }) | Err(Error::Superseded) => {
                let service = self.service.clone().with_value(value);
                Ok(Reclaimed::Held(self.right.client.register(&service).await?))
            }
            other => other,
        }
    }
}

/// Reclaims on a new lease although the old one still exists.
#[derive(Debug, Default)]
pub struct ReclaimsOnANewLease;

#[async_trait]
impl Flaw for ReclaimsOnANewLease {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = Arc::new(right.client.register(service).await?);
        let moving = Moving {
            client: right.registry.client(),
            service: service.clone(),
            registration: registration.clone(),
        };
        Ok(handle(registration, moving, true))
    }
}

struct Moving {
    client: MemoryClient,
    service: Service,
    registration: Arc<Registration>,
}

#[async_trait]
impl Reclaim for Moving {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        if self.registration.loss().is_some() {
            return self.registration.reclaim(value).await;
        }
        let service = self.service.clone().with_value(value);
        Ok(Reclaimed::Held(self.client.register(&service).await?))
    }
}

/// Confirms its leases whether or not the registry does.
#[derive(Debug, Default)]
pub struct ConfirmsWhatNobodyConfirmed;

#[async_trait]
impl Flaw for ConfirmsWhatNobodyConfirmed {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = Arc::new(right.client.register(service).await?);
        let (lease, ttl) = (registration.lease_id().clone(), service.ttl);
        let sender = ProofSender::new(lease, ttl.duration(), Instant::now());
        let proof = sender.proof().clone();
        let weak = Arc::downgrade(&registration);
        tokio::spawn(async move {
            while weak.strong_count() > 0 {
                sleep(ttl.keep_alive_interval()).await;
                sender.confirmed(ttl.duration(), Instant::now());
            }
        });
        let forwarded = Forwarded(registration.clone());
        Ok(handle_with(registration, &proof, forwarded, true))
    }
}

/// Keeps its leases alive and confirms none.
#[derive(Debug, Default)]
pub struct NeverConfirms;

#[async_trait]
impl Flaw for NeverConfirms {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let registration = Arc::new(right.client.register(service).await?);
        let (lease, ttl) = (registration.lease_id().clone(), service.ttl.duration());
        let never = ProofSender::new(lease, ttl, Instant::now());
        let forwarded = Forwarded(registration.clone());
        Ok(handle_with(registration, never.proof(), forwarded, true))
    }
}

struct Forwarded(Arc<Registration>);

#[async_trait]
impl Reclaim for Forwarded {
    async fn reclaim(&self, value: Bytes) -> Result<Reclaimed> {
        self.0.reclaim(value).await
    }
}

/// A handle around `registration`. Passes on its loss if `speaks` is set.
fn handle(registration: Arc<Registration>, reclaim: impl Reclaim, speaks: bool) -> Registration {
    let proof = registration.proof().clone();
    handle_with(registration, &proof, reclaim, speaks)
}

/// The same, with a proof of its own.
fn handle_with(
    registration: Arc<Registration>,
    proof: &LeaseProof,
    reclaim: impl Reclaim,
    speaks: bool,
) -> Registration {
    let key = registration.key().clone();
    let (sender, handle) = Registration::channel(key, proof, reclaim);
    let registration = Arc::downgrade(&registration);
    tokio::spawn(async move {
        loop {
            let Some(registration) = registration.upgrade() else {
                return;
            };
            if let Some(lost) = registration.loss().filter(|_| speaks) {
                return sender.send(lost);
            }
            drop(registration);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    handle
}
