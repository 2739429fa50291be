//! Clients that confuse the owners of registrations, or their order.

use super::{Flaw, Right};
use sd_core::{
    Client, Deregistered, Error, Generation, Owner, Registration, Result, Service, ServiceKey,
    async_trait,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Removes whatever it holds under a key, whoever the owner is.
#[derive(Debug, Default)]
pub struct OwnsByKey;

#[async_trait]
impl Flaw for OwnsByKey {
    async fn deregister(&self, right: &Right, service: &Service) -> Result<Deregistered> {
        let service = Service::new(service.key.clone(), service.value.clone())?;
        right.client.deregister(&service).await
    }
}

/// Takes the call that gets through last for the one that was asked for last.
#[derive(Debug, Default)]
pub struct IgnoresGenerations;

#[async_trait]
impl Flaw for IgnoresGenerations {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let service = service.clone().with_generation(Generation::new());
        right.client.register(&service).await
    }
}

/// Cancels all pending calls for a key when it is deregistered, whoever their owners are.
#[derive(Debug, Default)]
pub struct StopsItsSuccessor(Mutex<HashMap<ServiceKey, u32>>);

impl StopsItsSuccessor {
    fn deregistrations(&self, key: &ServiceKey, more: u32) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_default();
        *count += more;
        *count
    }
}

#[async_trait]
impl Flaw for StopsItsSuccessor {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        let before = self.deregistrations(&service.key, 0);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.deregistrations(&service.key, 0) != before {
            return Err(Error::Closed);
        }
        right.client.register(service).await
    }

    async fn deregister(&self, right: &Right, service: &Service) -> Result<Deregistered> {
        self.deregistrations(&service.key, 1);
        right.client.deregister(service).await
    }
}

/// Refuses to remove a registration with an owner if the caller names none.
#[derive(Debug, Default)]
pub struct AsksForTheOwner(Mutex<HashSet<ServiceKey>>);

#[async_trait]
impl Flaw for AsksForTheOwner {
    async fn register(&self, right: &Right, service: &Service) -> Result<Registration> {
        if service.owner().is_some() {
            let mut owned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            owned.insert(service.key.clone());
        }
        right.client.register(service).await
    }

    async fn deregister(&self, right: &Right, service: &Service) -> Result<Deregistered> {
        let is_owned = {
            let owned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            owned.contains(&service.key)
        };
        if service.owner().is_none() && is_owned {
            let somebody = service.clone().owned_by(Owner::new());
            return right.client.deregister(&somebody).await;
        }
        right.client.deregister(service).await
    }
}
