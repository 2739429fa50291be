//! The state of one client: its calls, the tasks that keep its leases alive, and their end.

mod close;
mod deregister;
mod register;
mod upkeep;

use crate::{
    ClientOptions,
    calls::Calls,
    holdings::Holdings,
    shared::{Attempt, Kind, Shared, State},
};
use deregister::Pending;
use sd_core::{Error, LeaseId, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The part of a client that its tasks and handles share. Does nothing after it is closed.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    registry: Arc<Shared>,
    options: ClientOptions,
    state: Mutex<SessionState>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The state behind the session's lock. That lock is taken before the registry's.
#[derive(Debug, Default)]
struct SessionState {
    holdings: Holdings,
    /// Removals that the registry has not confirmed yet.
    pending: Vec<Pending>,
    /// Whether a task watches the registry for losses.
    listening: bool,
    /// The runtime of the tasks. A handle may be dropped outside of it.
    runtime: Option<Handle>,
}

impl Session {
    pub(crate) fn new(registry: &Arc<Shared>, options: ClientOptions) -> Self {
        Self {
            id: registry.id(),
            registry: Arc::clone(registry),
            options,
            state: Mutex::default(),
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
        self.lock().holdings.ledger.lease_id()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().holdings.ledger.is_closed()
    }

    /// Makes a call, which `f` answers once the registry does. Until then nothing happens, so a
    /// call that is dropped or times out has no effect.
    ///
    /// [`Error::Closed`] once the session has ended.
    pub(crate) async fn call<T>(
        &self,
        operation: &'static str,
        count: fn(&mut Calls) -> &mut u64,
        f: impl FnOnce(&mut State) -> T,
    ) -> Result<T> {
        self.call_with_holdings(operation, count, |_, state, _| f(state))
            .await
    }

    /// A [`call`](Self::call) that changes the holdings of this client. Both locks are held while
    /// `f` runs, so that registry and holdings change in one step.
    async fn call_with_holdings<T>(
        &self,
        operation: &'static str,
        count: fn(&mut Calls) -> &mut u64,
        f: impl FnOnce(&mut SessionState, &mut State, Instant) -> T,
    ) -> Result<T> {
        let mut f = Some(f);
        let answer = async {
            self.send(count).await;
            let mut changes = self.registry.listen();
            loop {
                changes.mark_seen();
                if let Some(answer) = self.attempt_once(Kind::Call, &mut f)? {
                    return Ok(answer);
                }
                changes.changed().await;
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

    fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and waits for the registry's delay.
    async fn send(&self, count: fn(&mut Calls) -> &mut u64) {
        let delay = self.registry.with(|state, _| {
            *count(&mut state.calls) += 1;
            state.delay
        });
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }

    /// Lets `f` answer if the registry answers. `None` if it is silent.
    fn attempt_once<T>(
        &self,
        kind: Kind,
        f: &mut Option<impl FnOnce(&mut SessionState, &mut State, Instant) -> T>,
    ) -> Result<Option<T>> {
        let mut session = self.lock();
        if session.holdings.ledger.is_closed() {
            return Err(Error::Closed);
        }
        let attempt = self.registry.attempt(self.id, kind, |state, now| {
            session.holdings.catch_up(&mut state.store);
            f.take().map(|f| f(&mut session, state, now))
        });
        match attempt {
            Attempt::Answered(answer) => Ok(answer),
            Attempt::Silence => Ok(None),
            Attempt::Refused(error) => Err(error),
        }
    }
}

impl SessionState {
    /// The current runtime, which also runs the tasks of handles that are dropped elsewhere.
    fn runtime(&mut self) -> Handle {
        self.runtime.insert(Handle::current()).clone()
    }
}
