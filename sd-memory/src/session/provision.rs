//! Registering, and putting back what was lost.

use super::{Desk, Session};
use crate::{
    book::{Held, Mark},
    claim::Claim,
    fence::Ticket,
    shared::State,
};
use sd_core::{Bytes, Error, LeaseId, Reclaimed, Registration, Result, ServiceKey, Ttl};
use std::sync::Arc;
use tokio::time::Instant;

impl Session {
    /// Puts the service's entry on a lease, whoever holds the key.
    pub(crate) async fn register(
        self: &Arc<Self>,
        key: &ServiceKey,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Registration> {
        let ticket = self.ticket()?;
        self.book_call(
            "register",
            |calls| &mut calls.registers,
            |desk, state, now| {
                desk.fences.admit(&ticket, key)?;
                let lease = self.lease_for(ttl, desk, state, now);
                Ok(self.put(key, value, ttl, lease, desk, state))
            },
        )
        .await?
    }

    /// Puts `value` where `before` stood, if nobody else holds the key.
    pub(crate) async fn reclaim(
        self: &Arc<Self>,
        key: &ServiceKey,
        value: Bytes,
        ttl: Ttl,
        before: &Mark,
    ) -> Result<Reclaimed> {
        let ticket = self.ticket()?;
        self.book_call(
            "reclaim",
            |calls| &mut calls.reclaims,
            |desk, state, now| {
                desk.fences.admit(&ticket, key)?;
                let lease = desk.book.lease_of(ttl);
                // A lease to come names a key that nobody can hold yet.
                let place = match &lease {
                    Some(lease) => Some(key.under(lease)),
                    None => key.fixed().cloned(),
                };
                if let Some(stored) = place.and_then(|place| state.store.get(place.as_str()))
                    && !before.stands(&state.store)
                {
                    desk.book.forget(key);
                    return Ok(Reclaimed::taken(stored.value.clone()));
                }
                let lease = lease.unwrap_or_else(|| self.lease_for(ttl, desk, state, now));
                Ok(Reclaimed::Held(
                    self.put(key, value, ttl, lease, desk, state),
                ))
            },
        )
        .await?
    }

    fn ticket(&self) -> Result<Ticket> {
        let mut desk = self.desk();
        match desk.closed {
            true => Err(Error::Closed),
            false => Ok(desk.fences.ticket()),
        }
    }

    /// The lease for services of this TTL; a new one is kept alive from here on.
    fn lease_for(
        self: &Arc<Self>,
        ttl: Ttl,
        desk: &mut Desk,
        state: &mut State,
        now: Instant,
    ) -> LeaseId {
        if let Some(lease) = desk.book.lease_of(ttl) {
            return lease;
        }
        let (lease, stop) = desk.book.grant(ttl, &mut state.store, now);
        let runtime = Self::runtime(desk);
        let keep_alive = Arc::clone(self).keep_alive(lease.clone(), ttl, stop);
        self.tasks.spawn_on(keep_alive, &runtime);
        lease
    }

    /// Puts the entry on `lease` and writes it down.
    fn put(
        self: &Arc<Self>,
        service: &ServiceKey,
        value: Bytes,
        ttl: Ttl,
        lease: LeaseId,
        desk: &mut Desk,
        state: &mut State,
    ) -> Registration {
        let key = service.under(&lease);
        let modified = state.store.put(key.clone(), value, Some(&lease));
        let id = self.registry.id();
        let mark = Mark {
            key: key.clone(),
            lease: lease.clone(),
            modified,
        };
        let claim = Claim::new(Arc::clone(self), id, service.clone(), ttl, mark.clone());
        let (loss, registration) = Registration::channel(key, lease, claim);
        let held = Held {
            service: service.clone(),
            mark,
            loss: Some(loss),
        };
        desk.book.hold(id, held, &mut state.store);
        if !desk.listening {
            desk.listening = true;
            let runtime = Self::runtime(desk);
            self.tasks.spawn_on(Arc::clone(self).listen(), &runtime);
        }
        registration
    }
}
