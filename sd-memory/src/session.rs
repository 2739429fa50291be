//! What one client has going on: its calls, the tasks behind its leases, and their end.

use crate::{
    ClientOptions,
    book::{Book, Held, Mark},
    calls::Calls,
    claim::Claim,
    fence::{Fences, Ticket},
    registry::{Attempt, Shared, State},
};
use sd_core::{
    Bytes, Deregistered, Error, LeaseId, Lost, Reclaimed, Registration, Result, ServiceKey, Ttl,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The part of a client that its tasks and handles share. It does nothing more once it is closed.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    registry: Arc<Shared>,
    options: ClientOptions,
    desk: Mutex<Desk>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What the session's lock guards. It is taken before the registry's.
#[derive(Debug, Default)]
struct Desk {
    closed: bool,
    book: Book,
    fences: Fences,
    /// Removals that the registry has not confirmed yet.
    removals: Vec<(ServiceKey, Removal)>,
    /// Whether somebody reads the registry's news for the registrations.
    listening: bool,
    /// Where the tasks run.
    runtime: Option<Handle>,
}

/// Where the outcome of a removal is to be read.
type Removal = watch::Receiver<Option<Result<Deregistered>>>;

impl Session {
    pub(crate) fn new(registry: &Arc<Shared>, options: ClientOptions) -> Self {
        Self {
            id: registry.id(),
            registry: Arc::clone(registry),
            options,
            desk: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn registry(&self) -> &Arc<Shared> {
        &self.registry
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Cancelled when the session has ended.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    pub(crate) fn lease(&self) -> Option<LeaseId> {
        self.desk().book.lease().cloned()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.desk().closed
    }

    /// Has `f` answer a call. Until the answer is there nothing has happened, so that a call that
    /// is dropped, or runs out of time, had no effect.
    pub(crate) async fn call<T>(
        &self,
        operation: &'static str,
        count: fn(&mut Calls) -> &mut u64,
        f: impl FnOnce(&mut State) -> T,
    ) -> Result<T> {
        self.book_call(operation, count, |_, state, _| f(state))
            .await
    }

    async fn book_call<T>(
        &self,
        operation: &'static str,
        count: fn(&mut Calls) -> &mut u64,
        f: impl FnOnce(&mut Desk, &mut State, Instant) -> T,
    ) -> Result<T> {
        let mut f = Some(f);
        let answer = async {
            self.send(count).await;
            let mut news = self.registry.news();
            loop {
                news.mark_unchanged();
                if let Some(answer) = self.attempt_once(&mut f)? {
                    return Ok(answer);
                }
                if news.changed().await.is_err() {
                    return Err(Error::Closed);
                }
            }
        };
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let after = self.options.request_timeout;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Error::Closed),
            answer = timeout(after, answer) => {
                answer.unwrap_or(Err(Error::Timeout { operation, after }))
            }
        }
    }

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
                let lease = match desk.book.carries(&before.lease) {
                    true => Some(before.lease.clone()),
                    false => desk.book.lease_of(ttl),
                };
                let place = match (key, &lease) {
                    (ServiceKey::Fixed(key), _) => Some(key.clone()),
                    (ServiceKey::LeaseSuffixed(_), Some(lease)) => Some(key.under(lease)),
                    // The lease to come names a key that nobody can hold yet.
                    (ServiceKey::LeaseSuffixed(_), None) => None,
                };
                if let Some(stored) = place.and_then(|place| state.store.get(place.as_str()))
                    && !before.stands(&state.store)
                {
                    return Ok(Reclaimed::Taken {
                        value: stored.value.clone(),
                    });
                }
                let lease = lease.unwrap_or_else(|| self.lease_for(ttl, desk, state, now));
                Ok(Reclaimed::Held(
                    self.put(key, value, ttl, lease, desk, state),
                ))
            },
        )
        .await?
    }

    /// Removes the service's entry while it is ours.
    pub(crate) async fn deregister(self: &Arc<Self>, key: &ServiceKey) -> Result<Deregistered> {
        let mut removal = {
            let mut desk = self.desk();
            if desk.closed {
                return Err(Error::Closed);
            }
            desk.fences.raise(key);
            match desk.book.registration(key) {
                Some(id) => match self.remove(&mut desk, id, Lost::Deregistered) {
                    Ok(done) => return Ok(done),
                    Err(removal) => removal,
                },
                None => match desk.removals.iter().find(|(service, _)| service == key) {
                    Some((_, removal)) => removal.clone(),
                    None => return Ok(Deregistered::NotOurs),
                },
            }
        };
        let outcome = timeout(
            self.options.deregister_timeout,
            removal.wait_for(Option::is_some),
        );
        match outcome.await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Ok(Deregistered::Unconfirmed)),
            Ok(Err(_)) | Err(_) => Ok(Deregistered::Unconfirmed),
        }
    }

    /// Ends the registration that nobody holds a handle of any more.
    pub(crate) fn forget(self: &Arc<Self>, id: u64) {
        let mut desk = self.desk();
        // A removal that has to wait goes on by itself.
        let _ = self.remove(&mut desk, id, Lost::Closed);
    }

    /// Ends the session and says nothing to the registry: its leases run out.
    pub(crate) fn abandon(&self) -> Vec<LeaseId> {
        let mut desk = self.desk();
        desk.closed = true;
        let leases = desk.book.close(&Lost::Closed);
        desk.removals.clear();
        self.stop.cancel();
        self.tasks.close();
        drop(desk);
        self.registry
            .with(|state, _| state.watchers.retain(|_, client| *client != self.id));
        leases
    }

    /// Ends the session as well as can be done without waiting.
    pub(crate) fn drop_all(&self) {
        let leases = self.abandon();
        if leases.is_empty() {
            return;
        }
        let _ = self.registry.attempt(|state, _| {
            for lease in &leases {
                state.store.revoke(lease);
            }
        });
    }

    /// Ends the session, and waits until its leases are revoked, for a bounded time, and its tasks
    /// have ended.
    pub(crate) async fn close(&self) {
        let leases = self.abandon();
        let revoked = async {
            let mut news = self.registry.news();
            loop {
                news.mark_unchanged();
                let attempt = self.registry.attempt(|state, _| {
                    for lease in &leases {
                        state.store.revoke(lease);
                    }
                });
                if matches!(attempt, Attempt::Answered(())) || news.changed().await.is_err() {
                    return;
                }
            }
        };
        if !leases.is_empty()
            && timeout(self.options.deregister_timeout, revoked)
                .await
                .is_err()
        {
            tracing::warn!(leases = leases.len(), "closed with leases that run out");
        }
        self.tasks.wait().await;
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticket(&self) -> Result<Ticket> {
        let mut desk = self.desk();
        match desk.closed {
            true => Err(Error::Closed),
            false => Ok(desk.fences.ticket()),
        }
    }

    /// Counts a call and takes as long as it takes to get there.
    async fn send(&self, count: fn(&mut Calls) -> &mut u64) {
        let delay = self.registry.with(|state, _| {
            *count(&mut state.calls) += 1;
            state.delay
        });
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }

    /// Has `f` answer, if the registry does; `None` if it is silent.
    fn attempt_once<T>(
        &self,
        f: &mut Option<impl FnOnce(&mut Desk, &mut State, Instant) -> T>,
    ) -> Result<Option<T>> {
        let mut desk = self.desk();
        if desk.closed {
            return Err(Error::Closed);
        }
        let attempt = self.registry.attempt(|state, now| {
            desk.book.catch_up(&state.store);
            f.take().map(|f| f(&mut desk, state, now))
        });
        match attempt {
            Attempt::Answered(answer) => Ok(answer),
            Attempt::Silence => Ok(None),
            Attempt::Refused(error) => Err(error),
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
        let runtime = desk.runtime.get_or_insert_with(Handle::current).clone();
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
            let runtime = desk.runtime.get_or_insert_with(Handle::current).clone();
            self.tasks.spawn_on(Arc::clone(self).listen(), &runtime);
        }
        registration
    }

    /// Ends a registration here, and at the registry now if that answers at once; else returns
    /// where the outcome is to be read.
    fn remove(
        self: &Arc<Self>,
        desk: &mut Desk,
        id: u64,
        why: Lost,
    ) -> Result<Deregistered, Removal> {
        let service = desk.book.service(id);
        let (Some(mark), Some(service)) = (desk.book.retire(id, why), service) else {
            return Ok(Deregistered::NotOurs);
        };
        let delay = self.registry.with(|state, _| {
            state.calls.removals += 1;
            state.delay
        });
        if delay.is_zero()
            && let Attempt::Answered(done) = self.settle(desk, &mark)
        {
            return Ok(done);
        }
        let (outcome, removal) = watch::channel(None);
        desk.removals.retain(|(other, _)| *other != service);
        desk.removals.push((service, removal.clone()));
        if let Some(runtime) = &desk.runtime {
            let session = Arc::clone(self);
            let settled = async move { session.settle_in_time(mark, outcome).await };
            self.tasks.spawn_on(settled, runtime);
        }
        Err(removal)
    }

    fn settle(&self, desk: &mut Desk, mark: &Mark) -> Attempt<Deregistered> {
        self.registry.attempt(|state, _| {
            desk.book.catch_up(&state.store);
            desk.book.settle(mark, &mut state.store)
        })
    }

    /// Tries to remove what stands under `mark` until the registry answers or the session ends.
    async fn settle_in_time(
        self: Arc<Self>,
        mark: Mark,
        outcome: watch::Sender<Option<Result<Deregistered>>>,
    ) {
        let settled = async {
            let delay = self.registry.with(|state, _| state.delay);
            sleep(delay).await;
            let mut news = self.registry.news();
            loop {
                news.mark_unchanged();
                let attempt = {
                    let mut desk = self.desk();
                    self.settle(&mut desk, &mark)
                };
                match attempt {
                    Attempt::Answered(done) => {
                        outcome.send_replace(Some(Ok(done)));
                        return;
                    }
                    Attempt::Refused(error) if !error.is_transient() => {
                        outcome.send_replace(Some(Err(error)));
                    }
                    Attempt::Refused(_) | Attempt::Silence => {}
                }
                if news.changed().await.is_err() {
                    return;
                }
            }
        };
        self.stop.run_until_cancelled(settled).await;
        let mut desk = self.desk();
        desk.removals
            .retain(|(_, removal)| !removal.same_channel(&outcome.subscribe()));
    }

    /// Keeps a lease alive until it is given up or lost.
    async fn keep_alive(self: Arc<Self>, lease: LeaseId, ttl: Ttl, stop: CancellationToken) {
        let kept = async {
            let mut news = self.registry.news();
            loop {
                sleep(ttl.keep_alive_interval()).await;
                self.send(|calls| &mut calls.keep_alives).await;
                loop {
                    news.mark_unchanged();
                    let attempt =
                        self.attempt_once(&mut Some(|_: &mut Desk, state: &mut State, now| {
                            state.store.keep_alive(&lease, now)
                        }));
                    match attempt {
                        Ok(Some(true)) => break,
                        Ok(Some(false)) | Err(Error::Closed) => return,
                        Ok(None) | Err(_) => {}
                    }
                    if news.changed().await.is_err() {
                        return;
                    }
                }
            }
        };
        let either = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = kept => {}
            }
        };
        self.stop.run_until_cancelled(either).await;
    }

    /// Reads the registry's news for the registrations, for as long as there are any.
    async fn listen(self: Arc<Self>) {
        let heard = async {
            let mut news = self.registry.news();
            loop {
                news.mark_unchanged();
                {
                    let mut desk = self.desk();
                    if desk.book.is_empty() {
                        desk.listening = false;
                        return;
                    }
                    let _ = self
                        .registry
                        .attempt(|state, _| desk.book.catch_up(&state.store));
                }
                if news.changed().await.is_err() {
                    return;
                }
            }
        };
        self.stop.run_until_cancelled(heard).await;
    }
}
