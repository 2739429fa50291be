//! What one client has going on: its calls, the tasks behind its leases, and their end.

mod ending;
mod provision;
mod removal;
mod upkeep;

use crate::{
    ClientOptions,
    book::Book,
    calls::Calls,
    fence::Fences,
    shared::{Attempt, Shared, State},
};
use removal::Removal;
use sd_core::{Error, LeaseId, Result, ServiceKey};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{
    runtime::Handle,
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
    /// Where the tasks run; a handle may be dropped elsewhere.
    runtime: Option<Handle>,
}

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
    ///
    /// [`Error::Closed`] once the session has ended.
    pub(crate) async fn call<T>(
        &self,
        operation: &'static str,
        count: fn(&mut Calls) -> &mut u64,
        f: impl FnOnce(&mut State) -> T,
    ) -> Result<T> {
        self.book_call(operation, count, |_, state, _| f(state))
            .await
    }

    /// A [`call`](Self::call) that changes what this client holds. Both locks are held while `f`
    /// works, so that what the registry does and what the client notes of it are one step.
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
                news.mark_heard();
                if let Some(answer) = self.attempt_once(&mut f)? {
                    return Ok(answer);
                }
                news.changed().await;
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

    /// The runtime for the tasks.
    fn runtime(desk: &mut Desk) -> Handle {
        desk.runtime.insert(Handle::current()).clone()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
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
}
