//! The background task of a registrar: carries out the actions of its state machine, one at a time.

use super::{
    publisher::Publisher,
    requests::{Inputs, Requests},
};
use crate::{
    provider::{
        registration_state::{Action, Input, RegistrationState},
        status::RegistrarStatus,
    },
    registry::{
        Client, Deregistered, Error, ErrorChain, Escaped, Key, LeaseId, LeaseProof, Lost,
        Reclaimed, Registration, Result, Service, ServiceKey,
    },
    support::{Panicked, RestartableWork, Work, catch, catch_async},
};
use bytes::Bytes;
use futures::{FutureExt, future::join_all};
use std::{future, mem, pin::pin, sync::Arc};
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub(super) struct RegistrarTask {
    pub(super) client: Arc<dyn Client>,
    /// The service, under the key that it was registered under last.
    pub(super) service: Service,
    pub(super) state: RegistrationState,
    pub(super) registration: Option<Registration>,
    /// Registrations under former keys, until they are ended.
    pub(super) former: Vec<Registration>,
    pub(super) requests: watch::Receiver<Requests>,
    /// The last call that was taken into account.
    pub(super) seen: u64,
    pub(super) publisher: Publisher,
    /// Cancelled when the registrar is dropped, or by the token that its owner gave it.
    pub(super) stop: CancellationToken,
    /// Whether the stop was taken into account.
    pub(super) stopped: bool,
}

/// How an action ended.
enum Completion {
    Registered(Result<Registration>),
    Reclaimed(Result<Reclaimed>),
    Lost(Lost),
    FormerEnded(Result<Deregistered>),
    Deregistered(Result<Deregistered>),
    TimerFired,
}

impl Work for RegistrarTask {
    const NAME: &'static str = "registrar";

    /// Runs until nothing is left to do.
    async fn run(&mut self) {
        while !self.state.has_ended() || self.requests.has_changed().unwrap_or(false) {
            self.step().await;
        }
    }

    fn panicked(&mut self, why: Panicked) {
        let error = Error::Panicked { message: why.0 };
        self.abort(RegistrarStatus::Failed(error.clone()), Err(error));
    }
}

impl RestartableWork for RegistrarTask {
    fn runtime_ended(&mut self) {
        let requests = self.requests.borrow_and_update().clone();
        let seen = mem::replace(&mut self.seen, requests.last_call);
        let inputs = requests.since(seen, self.stopped);
        apply(&mut self.state, inputs.into_iter().flatten());
        let removed = Ok(Deregistered::Unconfirmed);
        self.abort(RegistrarStatus::RuntimeEnded, removed);
    }
}

impl RegistrarTask {
    /// Carries out one action, or gives it up for another.
    async fn step(&mut self) {
        let action = self.state.action().clone();
        let completion = self.complete(&action).await;
        // Not dropped earlier: dropping a registration removes its entry too, and the client would
        // then answer that there was none.
        if matches!(action, Action::Deregister(_)) {
            self.registration = None;
        }
        if let Some(completion) = completion {
            let input = self.input(&action, completion);
            apply(&mut self.state, [input]);
            self.publish();
        }
        if self.state.has_ended() {
            self.registration = None;
        }
        if self.state.has_ended() || !self.state.has_former() {
            self.former.clear();
        }
    }

    /// How `action` ended; `None` if another one replaces it.
    async fn complete(&mut self, action: &Action) -> Option<Completion> {
        let registration = self.registration.as_ref();
        let service = self.service.clone();
        let service = service.with_generation(self.state.generation());
        let unleased_edit = self.state.unleased_edit().cloned();
        let mut completion = pin!(carry_out(
            action,
            &*self.client,
            &service,
            registration,
            unleased_edit.as_ref(),
        ));
        loop {
            // The owner first, so that no call begins that is not wanted any more.
            let inputs = select! {
                biased;
                () = self.stop.cancelled(), if !self.stopped => {
                    self.stopped = true;
                    [Some(Input::Deregister), None, None]
                }
                Ok(()) = self.requests.changed() => {
                    let requests = self.requests.borrow_and_update();
                    let seen = mem::replace(&mut self.seen, requests.last_call);
                    requests.since(seen, self.stopped)
                }
                completion = &mut completion => return Some(completion),
                () = self.publisher.outdated_by(proof(registration)) => Inputs::default(),
                () = wait_until(self.state.timer()) => return Some(Completion::TimerFired),
            };
            // A loss that is known already comes before the requests.
            let lost = registration.and_then(Registration::loss);
            let inputs = inputs.into_iter().flatten();
            let inputs = lost.map(Input::Lost).into_iter().chain(inputs);
            let replaced = apply(&mut self.state, inputs);
            self.publisher
                .publish(&self.service, &self.state, proof(registration), self.seen);
            if replaced || self.state.has_ended() {
                return None;
            }
        }
    }

    /// The input that the `completion` of `action` stands for. Keeps the registration, if there is a new one.
    fn input(&mut self, action: &Action, completion: Completion) -> Input {
        match completion {
            Completion::Registered(Ok(registration)) => {
                // What it may replace is ended only once it is known to stand.
                self.former.extend(self.registration.take());
                if let Action::Register(sent) = action {
                    self.service.key = sent.key.clone();
                }
                let (key, lease) = self.keep(registration);
                Input::Registered { key, lease }
            }
            Completion::Registered(Err(error)) => Input::RegisterFailed(error),
            Completion::Reclaimed(Ok(Reclaimed::Held(registration))) => {
                let (key, lease) = self.keep(registration);
                Input::Reclaimed { key, lease }
            }
            Completion::Reclaimed(Ok(Reclaimed::Taken { value })) => Input::Taken { value },
            Completion::Reclaimed(Err(error)) => Input::ReclaimFailed(error),
            Completion::Lost(lost) => Input::Lost(lost),
            Completion::FormerEnded(outcome) => Input::FormerEnded(outcome),
            Completion::Deregistered(outcome) => Input::Deregistered(outcome),
            Completion::TimerFired => Input::TimerFired,
        }
    }

    fn keep(&mut self, registration: Registration) -> (Key, LeaseId) {
        let kept = self.registration.insert(registration);
        (kept.key().clone(), kept.lease_id().clone())
    }

    /// Ends the registration, as nobody keeps it any more.
    fn abort(&mut self, status: RegistrarStatus, removed: Result<Deregistered>) {
        self.state.abort(status, removed);
        self.publish();
        let registrations = (self.registration.take(), mem::take(&mut self.former));
        if let Err(why) = catch(|| drop(registrations)) {
            tracing::error!(service = %Escaped(&self.service.key), why = %ErrorChain(&why), "dropping the registration failed");
        }
    }

    fn publish(&mut self) {
        let proof = proof(self.registration.as_ref());
        self.publisher
            .publish(&self.service, &self.state, proof, self.seen);
    }
}

/// The proof of a registration that is not known to be lost.
fn proof(registration: Option<&Registration>) -> Option<&LeaseProof> {
    let held = registration.filter(|registration| registration.loss().is_none());
    held.map(Registration::proof)
}

/// Applies the inputs. Whether another action replaces the current one.
fn apply(state: &mut RegistrationState, inputs: impl IntoIterator<Item = Input>) -> bool {
    let now = Instant::now();
    inputs.into_iter().fold(false, |replaced, input| {
        state.on(input, now).is_some() | replaced
    })
}

async fn carry_out(
    action: &Action,
    client: &dyn Client,
    service: &Service,
    registration: Option<&Registration>,
    unleased_edit: Option<&Bytes>,
) -> Completion {
    match (action, registration) {
        (Action::Idle, _) => future::pending().await,
        (Action::Register(it), _) => {
            let service = service.clone().with_key(it.key.clone());
            let service = service.with_value(it.value.clone());
            Completion::Registered(caught(async { client.register(&service).await }).await)
        }
        (Action::EndFormer(keys), _) => {
            Completion::FormerEnded(deregister(client, service, keys).await)
        }
        (Action::Deregister(keys), registration) => {
            let edit = match (registration, unleased_edit) {
                (Some(registration), Some(edit)) => {
                    Some(caught(registration.remove_unleased(edit.clone())).await)
                }
                _ => None,
            };
            let outcome = deregister(client, service, keys).await;
            Completion::Deregistered(match (edit, outcome) {
                (Some(Ok(edit)), Ok(Deregistered::NotOurs)) => Ok(edit),
                (Some(Err(_)), Ok(Deregistered::NotOurs)) => Ok(Deregistered::Unconfirmed),
                (_, outcome) => outcome,
            })
        }
        (Action::AwaitLoss, Some(registration)) => {
            Completion::Lost(registration.until_lost().await)
        }
        (Action::Reclaim(value), Some(registration)) => {
            Completion::Reclaimed(caught(registration.reclaim(value.clone())).await)
        }
        // The state machine asks for neither before there is a registration.
        (Action::AwaitLoss | Action::Reclaim(_), None) => future::pending().await,
    }
}

/// Deregisters the service under all these keys. `Removed` if any was ours and all are gone.
async fn deregister(
    client: &dyn Client,
    service: &Service,
    keys: &[ServiceKey],
) -> Result<Deregistered> {
    let each = keys.iter().map(|key| {
        let service = service.clone().with_key(key.clone());
        async move { deregister_one(client, &service).await }
    });
    let mut outcomes = join_all(each).await.into_iter();
    outcomes.try_fold(Deregistered::NotOurs, |all, one| {
        Ok(match (all, one?) {
            (Deregistered::Unconfirmed, _) | (_, Deregistered::Unconfirmed) => {
                Deregistered::Unconfirmed
            }
            (Deregistered::NotOurs, one) => one,
            (all, _) => all,
        })
    })
}

async fn deregister_one(client: &dyn Client, service: &Service) -> Result<Deregistered> {
    match caught(async { client.deregister(service).await }).await {
        // A client answers `Unconfirmed` instead; one that does not must not confuse the caller.
        Err(error) if error.is_transient() => {
            tracing::warn!(service = %Escaped(&service.key), error = %ErrorChain(&error), "deregistering failed");
            Ok(Deregistered::Unconfirmed)
        }
        outcome => outcome,
    }
}

/// Awaits a call of the client. A panic fails this call, not the task.
fn caught<T>(call: impl Future<Output = Result<T>>) -> impl Future<Output = Result<T>> {
    catch_async(call)
        .map(|called| called.unwrap_or_else(|Panicked(message)| Err(Error::Panicked { message })))
}

async fn wait_until(timer: Option<Instant>) {
    match timer {
        Some(at) => sleep_until(at).await,
        None => future::pending().await,
    }
}
