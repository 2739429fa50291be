//! Registering, and putting back what was lost.

use super::{Session, SessionState};
use crate::{holdings::Mark, reclaim::MemoryReclaim, shared::State};
use sd_core::{Call, LeaseId, Reclaimed, Registration, Result, Service, Ttl};
use std::sync::Arc;
use tokio::time::Instant;

impl Session {
    /// Puts the service's entry on a lease, whoever holds the key.
    pub(crate) async fn register(self: &Arc<Self>, service: &Service) -> Result<Registration> {
        let call = self.lock().holdings.ledger.register(service)?;
        self.call_with_holdings(
            "register",
            |calls| &mut calls.registers,
            |session, state, now| {
                session.holdings.ledger.admit(&call)?;
                let lease = self.lease_for(service.ttl, session, state, now);
                Ok(self.put(call, lease, session, state))
            },
        )
        .await?
    }

    /// Puts the service's entry where `before` stood, if nobody else holds the key.
    pub(crate) async fn reclaim(
        self: &Arc<Self>,
        service: &Service,
        before: &Mark,
    ) -> Result<Reclaimed> {
        let call = self.lock().holdings.ledger.reclaim(service)?;
        self.call_with_holdings(
            "reclaim",
            |calls| &mut calls.reclaims,
            |session, state, now| {
                session.holdings.ledger.admit(&call)?;
                let key = session.holdings.ledger.key_for(service);
                let mut kept = None;
                if let Some(stored) = key.and_then(|key| state.store.get(key.as_str()))
                    && !before.stands(&state.store)
                    && !session.holdings.is_rolled_back(before, stored)
                {
                    let Some(modified) = before.overwritten(stored) else {
                        session.holdings.ledger.taken(&call);
                        return Ok(Reclaimed::taken(stored.value.clone()));
                    };
                    kept = (stored.value == service.value).then_some(modified);
                }
                let lease = self.lease_for(service.ttl, session, state, now);
                let registration = match kept {
                    Some(modified) => self.hold(call, lease, modified, session, state),
                    None => self.put(call, lease, session, state),
                };
                Ok(Reclaimed::Held(registration))
            },
        )
        .await?
    }

    /// The lease for services of this TTL. Grants one if there is none, and keeps it alive.
    fn lease_for(
        self: &Arc<Self>,
        ttl: Ttl,
        session: &mut SessionState,
        state: &mut State,
        now: Instant,
    ) -> LeaseId {
        if let Some(lease) = session.holdings.ledger.lease_for(ttl) {
            return lease;
        }
        let (lease, stop) = session.holdings.grant(ttl, &mut state.store, now);
        let keep_alive = Arc::clone(self).keep_alive(lease.clone(), ttl, stop);
        self.tasks.spawn_on(keep_alive, &session.runtime());
        lease
    }

    /// Puts the entry on `lease` and makes the registration.
    fn put(
        self: &Arc<Self>,
        call: Call,
        lease: LeaseId,
        session: &mut SessionState,
        state: &mut State,
    ) -> Registration {
        let service = call.service().clone();
        let key = service.key.under(&lease);
        let value = service.value.clone();
        let modified = state.store.put(key, value, Some(&lease));
        self.hold(call, lease, modified, session, state)
    }

    /// Makes the registration of an entry that stands.
    fn hold(
        self: &Arc<Self>,
        call: Call,
        lease: LeaseId,
        modified: u64,
        session: &mut SessionState,
        state: &mut State,
    ) -> Registration {
        let service = call.service().clone();
        let key = service.key.under(&lease);
        let mark = Mark {
            key,
            lease,
            modified,
        };
        let reclaim = MemoryReclaim {
            session: Arc::clone(self),
            id: call.id(),
            service,
            mark: mark.clone(),
        };
        let holdings = &mut session.holdings;
        let registration = holdings.hold(call, mark, reclaim, &mut state.store);
        if !session.listening {
            session.listening = true;
            let listen = Arc::clone(self).listen();
            self.tasks.spawn_on(listen, &session.runtime());
        }
        registration
    }
}
