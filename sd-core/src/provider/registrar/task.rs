//! The task of a registrar: does what its tenure says, one thing at a time.

use super::voice::Voice;
use crate::provider::status::{RegistrarStatus, Updated};
use crate::{
    provider::{
        meters::RegistrarMeters,
        tenure::{Action, Input, Tenure},
    },
    registry::{
        Client, Deregistered, Key, LeaseId, Lost, Reclaimed, Registration, Result, Service,
    },
};
use bytes::Bytes;
use std::{
    future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// What the owner wants: for each kind of wish the number of the last call, and the latest value.
/// A slot rather than a queue, so that nobody waits to be heard and nothing piles up.
#[derive(Debug, Clone)]
pub(super) struct Wishes {
    pub(super) call: u64,
    pub(super) register: u64,
    pub(super) deregister: u64,
    pub(super) update: u64,
    pub(super) value: Bytes,
}

impl Wishes {
    /// None so far, for a service of this value.
    pub(super) fn of(value: Bytes) -> Self {
        Self {
            call: 0,
            register: 0,
            deregister: 0,
            update: 0,
            value,
        }
    }

    /// What was wished after the call `seen`. A deregistration is never skipped, and only a later
    /// registration outlives it, unless the registrar was `stopped`.
    fn since(&self, seen: u64, stopped: bool) -> Vec<Input> {
        let update = (self.update > seen).then(|| Input::Update(self.value.clone()));
        let deregister = (self.deregister > seen).then_some(Input::Deregister);
        let register = self.register > seen.max(self.deregister) && !stopped;
        let register = register.then_some(Input::Register);
        [update, deregister, register]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// What there is to say to those who called, up to the call `seen`; `None` while it is not decided.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) seen: u64,
    pub(super) registered: Option<Result<()>>,
    pub(super) updated: Option<Result<Updated>>,
    pub(super) deregistered: Option<Result<Deregistered>>,
    pub(super) ended: bool,
}

pub(super) struct Task {
    pub(super) client: Arc<dyn Client>,
    pub(super) service: Service,
    pub(super) tenure: Tenure,
    pub(super) registration: Option<Registration>,
    pub(super) wishes: watch::Receiver<Wishes>,
    pub(super) answers: watch::Sender<Answer>,
    pub(super) status: watch::Sender<RegistrarStatus>,
    /// The last call that was taken into account.
    pub(super) seen: u64,
    /// Cancelled when the owner is gone or has had enough.
    pub(super) stop: CancellationToken,
    pub(super) stopped: bool,
    pub(super) voice: Voice,
    pub(super) meters: RegistrarMeters,
}

/// How what was under way ended.
enum Landed {
    Registered(Result<Registration>),
    Reclaimed(Result<Reclaimed>),
    Lost(Lost),
    Deregistered(Result<Deregistered>),
    TimerFired,
}

impl Task {
    /// Runs until there is nothing left to do, and then parks itself for the next wish.
    pub(super) async fn run(mut self: Box<Self>, parked: Arc<Mutex<Option<Box<Self>>>>) {
        loop {
            if self.tenure.has_ended() {
                let mut parked = parked.lock().unwrap_or_else(PoisonError::into_inner);
                // Whoever wishes does so first and looks for a parked task then.
                if !self.wishes.has_changed().unwrap_or(false) {
                    *parked = Some(self);
                    return;
                }
            }
            self.step().await;
        }
    }

    /// Sees one thing through, or drops it for another.
    async fn step(&mut self) {
        let action = self.tenure.under_way().clone();
        let landed = self.see_through(&action).await;
        // Let go of only now: dropping a registration removes it too, and what the client would
        // have said of it then would be worth less.
        if action == Action::Deregister {
            self.registration = None;
        }
        if let Some(landed) = landed {
            let input = self.input(landed);
            tell(&mut self.tenure, [input]);
            self.publish();
        }
        if self.tenure.has_ended() {
            self.registration = None;
        }
    }

    /// How `action` ended; `None` if the owner wants something else instead.
    async fn see_through(&mut self, action: &Action) -> Option<Landed> {
        let registration = self.registration.as_ref();
        let mut flight = pin!(fly(action, &*self.client, &self.service, registration));
        loop {
            // The owner first: no call is begun that is not wanted any more.
            let wishes = select! {
                biased;
                () = self.stop.cancelled(), if !self.stopped => {
                    self.stopped = true;
                    vec![Input::Deregister]
                }
                Ok(()) = self.wishes.changed() => {
                    let wishes = self.wishes.borrow_and_update();
                    let before = std::mem::replace(&mut self.seen, wishes.call);
                    wishes.since(before, self.stopped)
                }
                landed = &mut flight => return Some(landed),
                () = wait_until(self.tenure.timer()) => return Some(Landed::TimerFired),
            };
            // A loss that is known already comes before what is wished.
            let lost = registration.and_then(Registration::loss);
            let inputs = lost.map(Input::Lost).into_iter().chain(wishes);
            let instead = tell(&mut self.tenure, inputs);
            publish(
                &self.service,
                &self.tenure,
                self.seen,
                &self.status,
                &self.answers,
                (&mut self.voice, &mut self.meters),
            );
            if instead || self.tenure.has_ended() {
                return None;
            }
        }
    }

    /// What `landed` means to the tenure. Keeps the registration, if it brought one.
    fn input(&mut self, landed: Landed) -> Input {
        match landed {
            Landed::Registered(Ok(registration)) => {
                let (key, lease) = self.hold(registration);
                Input::Registered { key, lease }
            }
            Landed::Registered(Err(error)) => Input::RegisterFailed(error),
            Landed::Reclaimed(Ok(Reclaimed::Held(registration))) => {
                let (key, lease) = self.hold(registration);
                Input::Reclaimed { key, lease }
            }
            Landed::Reclaimed(Ok(Reclaimed::Taken { value })) => Input::Taken { value },
            Landed::Reclaimed(Err(error)) => Input::ReclaimFailed(error),
            Landed::Lost(lost) => Input::Lost(lost),
            Landed::Deregistered(outcome) => Input::Deregistered(outcome),
            Landed::TimerFired => Input::TimerFired,
        }
    }

    fn hold(&mut self, registration: Registration) -> (Key, LeaseId) {
        let held = self.registration.insert(registration);
        (held.key().clone(), held.lease_id().clone())
    }

    fn publish(&mut self) {
        publish(
            &self.service,
            &self.tenure,
            self.seen,
            &self.status,
            &self.answers,
            (&mut self.voice, &mut self.meters),
        );
    }
}

/// Tells all that happened. Whether something else is to be under way.
fn tell(tenure: &mut Tenure, inputs: impl IntoIterator<Item = Input>) -> bool {
    let now = Instant::now();
    inputs.into_iter().fold(false, |instead, input| {
        tenure.on(input, now).is_some() | instead
    })
}

/// Does what `action` says.
async fn fly(
    action: &Action,
    client: &dyn Client,
    service: &Service,
    registration: Option<&Registration>,
) -> Landed {
    match (action, registration) {
        (Action::Rest, _) => future::pending().await,
        (Action::Register(value), _) => {
            let service = service.clone().with_value(value.clone());
            Landed::Registered(client.register(&service).await)
        }
        (Action::Deregister, _) => Landed::Deregistered(match client.deregister(service).await {
            // Clients say that themselves; those that do not must not confuse their users.
            Err(error) if error.is_transient() => {
                tracing::warn!(service = %service.key, %error, "deregistering failed");
                Ok(Deregistered::Unconfirmed)
            }
            outcome => outcome,
        }),
        (Action::Hold, Some(registration)) => Landed::Lost(registration.until_lost().await),
        (Action::Reclaim(value), Some(registration)) => {
            Landed::Reclaimed(registration.reclaim(value.clone()).await)
        }
        // The tenure asks for neither before it was registered.
        (Action::Hold | Action::Reclaim(_), None) => future::pending().await,
    }
}

async fn wait_until(timer: Option<Instant>) {
    match timer {
        Some(at) => sleep_until(at).await,
        None => future::pending().await,
    }
}

/// Tells the world, then those who called.
fn publish(
    service: &Service,
    tenure: &Tenure,
    seen: u64,
    status: &watch::Sender<RegistrarStatus>,
    answers: &watch::Sender<Answer>,
    (voice, meters): (&mut Voice, &mut RegistrarMeters),
) {
    let new = tenure.status();
    status.send_if_modified(|old| {
        let differs = !new.same(old);
        if differs {
            voice.tells(service, old, &new, Instant::now());
            meters.turned(old, &new);
            *old = new;
        }
        differs
    });
    answers.send_replace(Answer {
        seen,
        registered: tenure.registered(),
        updated: tenure.updated(),
        deregistered: tenure.deregistered(),
        ended: tenure.has_ended(),
    });
}
