//! Registrars: keeping a provider registered.
//!
//! [`Client::register`](crate::Client::register) puts an entry down once. What a provider wants is
//! that it stands for as long as the provider runs: registered when the registry comes up, put back
//! when a lease is lost or an operator deletes the key, and gone when the provider goes.

mod builder;
mod task;
#[cfg(test)]
mod tests;
mod voice;

pub use builder::RegistrarBuilder;

use super::status::{RegistrarStatus, Updated};
use crate::registry::{Client, Deregistered, Error, Invalid, Result, Service, ServiceKey};
use bytes::Bytes;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use task::{Answer, Task, Wishes};
use tokio::{runtime::Handle, select, sync::watch, time::timeout};
use tokio_util::{sync::DropGuard, task::TaskTracker};

/// Keeps one service registered, from [`register`](Self::register) until it is told otherwise.
///
/// - **Lost** entries are put back ([`Registration::reclaim`](crate::Registration::reclaim)) with
///   jittered, growing delays, and without end. An outage alone loses nothing: an old lease that
///   still lives is kept.
/// - **Taken** keys are reported and waited for, not fought over, unless asked to
///   ([`RegistrarBuilder::retake`]).
/// - **Deregistering** wins every race, is bounded in time, and nothing is put after it. Where the
///   codec can say so, draining is announced first, so that consumers do not take the removal for
///   an accident.
///
/// One task does all this. It begins with `register`, ends when there is nothing left to keep, and
/// begins anew with the next `register`. Dropping the registrar, or cancelling its
/// [token](RegistrarBuilder::cancellation_token), deregisters in the background, bounded as
/// [`deregister`](Self::deregister) is, and ends the task; if the runtime ends first, the lease
/// runs out.
///
/// ```
/// # use sd_core::*;
/// # async fn provider(client: impl Client) -> Result<()> {
/// let service = Service::new("/services/hello/10.0.0.1:8080", "10.0.0.1:8080")?;
/// let registrar = Registrar::new(client, service);
/// registrar.register().await?; // waits for the registry if need be
///
/// // ... serve until told to stop ...
///
/// registrar.deregister().await?;
/// # Ok(())
/// # }
/// ```
///
/// A new weight, under the same lease:
///
/// ```
/// # use sd_core::*;
/// # async fn reweight(registrar: &Registrar, instance: &Instance) -> Result<(), Box<dyn std::error::Error>> {
/// let lighter = DefaultCodec.encode(&instance.clone().with_weight(1))?;
/// registrar.update(lighter).await?;
/// # Ok(())
/// # }
/// ```
pub struct Registrar {
    key: ServiceKey,
    wishes: watch::Sender<Wishes>,
    answers: watch::Receiver<Answer>,
    status: watch::Receiver<RegistrarStatus>,
    /// The task while it does not run.
    parked: Arc<Mutex<Option<Box<Task>>>>,
    running: TaskTracker,
    _stop: DropGuard,
}

impl Registrar {
    /// A registrar of `service` with the default options. Starts nothing, needs no runtime.
    pub fn new(client: impl Client, service: Service) -> Self {
        Self::builder(client, service).build()
    }

    /// A registrar of `service` with other options.
    pub fn builder(client: impl Client, service: Service) -> RegistrarBuilder {
        RegistrarBuilder::new(Arc::new(client), service)
    }

    /// Registers the service and keeps it registered; resolves when it is. Takes the key over,
    /// whoever holds it, also when it was [taken](RegistrarStatus::Taken) meanwhile.
    ///
    /// What can pass is tried again without limit, a registry that is not there included:
    /// [`register_within`](Self::register_within) sets one. At once `Ok` where the service is
    /// registered already; starts anew after [`deregister`](Self::deregister).
    ///
    /// Cancelling stops the waiting, not the trying: the registrar goes on until it is
    /// deregistered or dropped.
    ///
    /// # Errors
    /// What [cannot pass](Error::is_transient): an invalid entry, refused credentials, missing
    /// rights. Nothing is tried any more then. [`Error::Closed`] if it was deregistered or its
    /// token cancelled meanwhile, or the client closed. [`Error::Invalid`] outside of a tokio
    /// runtime.
    pub async fn register(&self) -> Result<()> {
        let call = self.wish(|wishes, call| wishes.register = call);
        self.wake()?;
        self.answer(call, |answer| answer.registered.clone())
            .await?
    }

    /// [`register`](Self::register), but gives up after `limit`: then the service is deregistered
    /// in the background, and nothing is tried any more.
    ///
    /// Cancelling has the effect it has on `register`.
    ///
    /// # Errors
    /// As `register`; after `limit` the last error of the registry, or [`Error::Timeout`] if there
    /// was none.
    pub async fn register_within(&self, limit: Duration) -> Result<()> {
        if let Ok(registered) = timeout(limit, self.register()).await {
            return registered;
        }
        let error = match &*self.status.borrow() {
            RegistrarStatus::Registered { .. } => return Ok(()),
            RegistrarStatus::Registering { error, .. }
            | RegistrarStatus::Reclaiming { error, .. } => error.clone(),
            _ => None,
        };
        let call = self.wish(|wishes, call| wishes.deregister = call);
        self.wake()?;
        self.answer(call, |_| Some(())).await?;
        Err(error.unwrap_or(Error::Timeout {
            operation: "register",
            after: limit,
        }))
    }

    /// Gives the service a new value, under the same lease; somebody else's entry is never
    /// overwritten. Resolves when it is written, however long the registry is away, or at once if
    /// the service is not registered at the moment; then it is remembered.
    ///
    /// The value is the service's from the first poll on, whether or not the future is polled to
    /// its end. Of several values the latest wins, and all who wait get its outcome.
    ///
    /// # Errors
    /// What [cannot pass](Error::is_transient). A value that the registry would never take
    /// ([`Error::Invalid`], [`Error::Unsupported`]) is given up and the one before stays; with any
    /// other error it is tried again in the background, as [`status`](Self::status) shows.
    pub async fn update(&self, value: impl Into<Bytes>) -> Result<Updated> {
        let value = value.into();
        let call = self.wish(|wishes, call| {
            wishes.value = value;
            wishes.update = call;
        });
        if self.is_parked() {
            return Ok(Updated::Remembered);
        }
        self.answer(call, |answer| answer.updated.clone()).await?
    }

    /// Removes the service, while it is ours, and stops keeping it; resolves when the registrar has
    /// ended, and says what happened.
    ///
    /// Wins every race: what is under way is abandoned, and nothing is put afterwards, but that
    /// draining is announced where the codec can say so. Takes no longer than the
    /// [bound](RegistrarBuilder::deregister_timeout) plus the time of
    /// [draining](RegistrarBuilder::drain); a registry that does not answer by then makes it
    /// [`Deregistered::Unconfirmed`]. May be called again: what was removed stays removed, what was
    /// unconfirmed is tried again. [`Deregistered::NotOurs`] if it was never registered.
    ///
    /// Goes on in the background when the future is dropped after its first poll.
    ///
    /// # Errors
    /// What the client answers and [cannot pass](Error::is_transient). [`Error::Invalid`] outside
    /// of a tokio runtime.
    pub async fn deregister(&self) -> Result<Deregistered> {
        let call = self.wish(|wishes, call| wishes.deregister = call);
        self.wake()?;
        let outcome = self
            .answer(call, |answer| answer.deregistered.clone())
            .await?;
        let mut answers = self.answers.clone();
        select! {
            biased;
            () = self.running.wait() => {}
            // Somebody registers again already.
            _ = answers.wait_for(|answer| !answer.ended) => {}
        }
        outcome
    }

    /// What the registrar is doing, from now on. States that nobody looked at in time are skipped.
    /// Closed once the registrar is dropped and has deregistered.
    pub fn status(&self) -> watch::Receiver<RegistrarStatus> {
        self.status.clone()
    }

    /// Leaves a wish for the task and gives the number of the call.
    fn wish(&self, wish: impl FnOnce(&mut Wishes, u64)) -> u64 {
        let mut call = 0;
        self.wishes.send_modify(|wishes| {
            wishes.call += 1;
            call = wishes.call;
            wish(wishes, call);
        });
        call
    }

    /// Lets the task run.
    fn wake(&self) -> Result<()> {
        let runtime = Handle::try_current()
            .map_err(|_| Invalid::Config("a registrar needs a tokio runtime".into()))?;
        let parked = self
            .parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = parked {
            let run = task.run(self.parked.clone());
            self.running.spawn_on(run, &runtime);
        }
        Ok(())
    }

    fn is_parked(&self) -> bool {
        self.parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Waits for what the task answers to `call`. Fails if it was ended from outside, with its
    /// runtime.
    async fn answer<T>(&self, call: u64, of: impl Fn(&Answer) -> Option<T>) -> Result<T> {
        let mut answers = self.answers.clone();
        let decided = |answer: &Answer| (answer.seen >= call).then(|| of(answer)).flatten();
        let answer = answers.wait_for(|answer| decided(answer).is_some()).await;
        answer
            .ok()
            .and_then(|answer| decided(&answer))
            .ok_or(Error::Closed)
    }
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar")
            .field("key", &self.key)
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}
