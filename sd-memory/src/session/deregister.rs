//! Removing entries: at once if the registry answers, otherwise in the background until it does.

use super::{Session, SessionState};
use crate::{
    holdings::{Holdings, Mark},
    shared::{Attempt, Kind},
};
use sd_core::{Bytes, Deregistered, RegistrationId, Removal, Result, Service};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// How long a refused removal waits before it is tried again, unless the registry changes before.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A removal that the registry has not confirmed yet.
#[derive(Debug)]
pub(super) struct Pending {
    service: Service,
    outcome: Outcome,
}

type Outcome = watch::Receiver<Option<Result<Deregistered>>>;

impl Pending {
    /// Whether a deregistration of `service` waits for this removal.
    fn is_of(&self, service: &Service) -> bool {
        let owner = service.owner();
        self.service.key == service.key && (owner.is_none() || owner == self.service.owner())
    }
}

impl Session {
    /// Removes the service's entry while it is ours.
    pub(crate) async fn deregister(self: &Arc<Self>, service: &Service) -> Result<Deregistered> {
        let mut outcome = {
            let mut session = self.lock();
            match session.holdings.ledger.deregister(service)? {
                Some(removal) => match self.remove(&mut session, removal) {
                    Ok(done) => return Ok(done),
                    Err(outcome) => outcome,
                },
                None => match session.pending.iter().rfind(|it| it.is_of(service)) {
                    Some(pending) => pending.outcome.clone(),
                    None => return Ok(Deregistered::NotOurs),
                },
            }
        };
        let outcome = timeout(
            self.options.deregister_timeout,
            outcome.wait_for(Option::is_some),
        );
        match outcome.await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Ok(Deregistered::Unconfirmed)),
            Ok(Err(_)) | Err(_) => Ok(Deregistered::Unconfirmed),
        }
    }

    /// Removes what took the key from the entry `before`, if it has this value and no lease.
    pub(crate) async fn remove_unleased(
        &self,
        before: &Mark,
        value: &Bytes,
    ) -> Result<Deregistered> {
        let call = self.call(
            "remove",
            |calls| &mut calls.removals,
            |state| match state.store.get(before.key.as_str()) {
                Some(stored)
                    if stored.lease.is_none()
                        && stored.value == *value
                        && !before.is_newer_than(stored) =>
                {
                    state.store.delete(&before.key);
                    Deregistered::Removed
                }
                _ => Deregistered::NotOurs,
            },
        );
        let bounded = timeout(self.options.deregister_timeout, call);
        match bounded.await {
            Ok(Err(error)) if error.is_transient() => Ok(Deregistered::Unconfirmed),
            Ok(outcome) => outcome,
            Err(_) => Ok(Deregistered::Unconfirmed),
        }
    }

    /// Ends a registration whose handle was dropped.
    pub(crate) fn release(self: &Arc<Self>, id: RegistrationId) {
        let mut session = self.lock();
        if let Some(removal) = session.holdings.ledger.release(id) {
            // A removal that has to wait continues in the background.
            let _ = self.remove(&mut session, removal);
        }
    }

    /// Carries the removal out if the registry answers at once. Otherwise continues in the
    /// background and returns a receiver of the outcome.
    fn remove(
        self: &Arc<Self>,
        session: &mut SessionState,
        removal: Removal<Mark>,
    ) -> Result<Deregistered, Outcome> {
        session.holdings.let_go(&removal);
        let delay = self.registry.with(|state, _| {
            state.calls.removals += 1;
            state.delay
        });
        if delay.is_zero()
            && let Attempt::Answered(done) = self.try_removal(session, &removal)
        {
            return Ok(done);
        }
        let (sender, outcome) = watch::channel(None);
        session.pending.retain(|it| !it.is_of(&removal.service));
        session.pending.push(Pending {
            service: removal.service.clone(),
            outcome: outcome.clone(),
        });
        if let Some(runtime) = &session.runtime {
            let removed = Arc::clone(self).keep_removing(removal, sender);
            self.tasks.spawn_on(removed, runtime);
        }
        Err(outcome)
    }

    fn try_removal(
        &self,
        session: &mut SessionState,
        removal: &Removal<Mark>,
    ) -> Attempt<Deregistered> {
        self.registry.attempt(self.id, Kind::Call, |state, _| {
            session.holdings.catch_up(&mut state.store);
            Holdings::carry_out(removal, &mut state.store)
        })
    }

    /// Tries until the registry answers or the session ends.
    async fn keep_removing(
        self: Arc<Self>,
        removal: Removal<Mark>,
        outcome: watch::Sender<Option<Result<Deregistered>>>,
    ) {
        let removed = async {
            let delay = self.registry.with(|state, _| state.delay);
            sleep(delay).await;
            let mut changes = self.registry.listen();
            loop {
                changes.mark_seen();
                let attempt = self.try_removal(&mut self.lock(), &removal);
                match attempt {
                    Attempt::Answered(done) => {
                        outcome.send_replace(Some(Ok(done)));
                        return;
                    }
                    Attempt::Refused(error) => {
                        if !error.is_transient() {
                            outcome.send_replace(Some(Err(error)));
                        }
                        let _ = timeout(RETRY_AFTER, changes.changed()).await;
                    }
                    Attempt::Silence => changes.changed().await,
                }
            }
        };
        self.stop.run_until_cancelled(removed).await;
        let receiver = outcome.subscribe();
        let mut session = self.lock();
        session
            .pending
            .retain(|it| !it.outcome.same_channel(&receiver));
    }
}
