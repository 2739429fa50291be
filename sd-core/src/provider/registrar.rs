//! Registrars: keeping a provider registered.
//!
//! [`Client::register`](crate::Client::register) puts an entry once. A provider wants it to stay for
//! as long as the provider runs: registered when the registry comes up, put back when a lease is
//! lost or an operator deletes the key, and removed when the provider stops.

mod builder;
mod publisher;
mod requests;
mod status_log;
mod task;
#[cfg(test)]
mod tests;

pub use builder::RegistrarBuilder;

use super::{
    key_value::KeyValue,
    status::{RegistrarStatus, Updated},
    value_format::ValueFormat,
};
use crate::{
    instances::{Advert, Edit, Format},
    registry::{
        Client, Deregistered, Error, ErrorChain, Escaped, Generation, Invalid, Result, Service,
        ServiceKey,
    },
    support::{RestartableTask, StatusReceiver},
};
use bytes::Bytes;
use publisher::Answers;
use requests::Requests;
use std::{fmt, sync::Arc, time::Duration};
use task::RegistrarTask;
use tokio::{
    select,
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

/// How much longer than the task a caller waits for it. The task keeps its bounds itself unless its
/// runtime is not driven.
const GRACE: Duration = Duration::from_secs(1);

/// Keeps one service registered, from [`register`](Self::register) until
/// [`deregister`](Self::deregister).
///
/// - A **lost** entry is put back ([`Registration::reclaim`](crate::Registration::reclaim)), with
///   growing, jittered delays and without end. An outage alone loses nothing: an old lease that
///   still lives is kept.
/// - A registration that the registry has not confirmed for a TTL is **unproven**, whatever the
///   reason: [`status`](Self::status) and [`is_proven`](Self::is_proven) say so. Nothing has to be
///   done about it: it is proven again, or lost, when the registry answers.
/// - A **taken** key is reported and waited for. [`RegistrarBuilder::retake`] takes it back.
/// - **Deregistering** wins every race and is bounded in time, and nothing is put after it. It
///   announces draining first if the codec can, so that consumers do not take the removal for an
///   accident.
/// - A value that **no consumer could read or call** is refused, by `register` and by `update`; see
///   [`RegistrarBuilder::codec`].
///
/// A registrar ends only what it registered itself: each has an [`Owner`](crate::Owner) of its own.
/// Another registrar of the same key on the same client, as after a reload, keeps its entry whatever
/// becomes of this one, in whichever order the two register and deregister. The one that was asked to
/// register later stands, however long the attempts of either take: each call of
/// [`register`](Self::register) has a [`Generation`](crate::Generation), and so have all attempts that
/// follow from it. The other registrar is [superseded](RegistrarStatus::Superseded).
///
/// A background task does all this. `register` spawns it on the runtime of its caller; it ends when
/// nothing is left to keep, and the next `register` spawns it anew. Dropping the registrar, or
/// cancelling its [token](RegistrarBuilder::cancellation_token), deregisters in the background,
/// bounded as `deregister` is, and ends the task.
///
/// A client that panics has failed this one call ([`Error::Panicked`]). If the runtime ends before
/// the task has deregistered, the status is [`RuntimeEnded`](RegistrarStatus::RuntimeEnded) and the
/// entry ends with its lease; `register` then starts anew on another runtime. While the runtime
/// exists but is not driven (a current-thread runtime outside of `block_on`), the task stands still:
/// `register` and `update` wait, `register_within` and `deregister` keep their bounds.
///
/// # Edits
/// An operator may change the weight or status of an entry in the registry. If the entry stays on its
/// lease ([`edit`](crate::edit()), `etcdctl put --ignore-lease`), and the [codec](RegistrarBuilder::codec) reads it as the same
/// instance, at the same address, the edit is kept: [`status`](Self::status) and the log show it, and it
/// comes back with the entry if that is lost, and goes along to another key. It stands until the owner changes the same
/// attribute or deregisters the service:
///
/// - An [`update`](Self::update) is a whole value, most of which its owner only repeats. It takes back the attributes in
///   which it differs from the owner's value before.
/// - An [`edit`](Self::edit) of the owner names what it means. It takes back those attributes, also those that
///   the owner's value had so already: after `weight(5)`, the weight is 5.
///
/// Anything else on the lease is overwritten with the registrar's value.
///
/// A put without the lease takes the key away from the registrar, as anybody's put does. If it changed
/// nothing but weight or status, and nothing has been put since, deregistering removes it too: it would
/// stay for ever.
///
/// # Examples
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
/// A service by its name, in the toolkit's own format, and a new weight under the same lease:
///
/// ```
/// # use sd_core::*;
/// # async fn provider(client: impl Client) -> Result<()> {
/// let advert = Advert::new("10.0.0.1:8080").weight(3);
/// let registrar = Registrar::of(client, &DefaultFormat::default(), "hello", &advert)?;
/// registrar.register().await?;
/// registrar.edit(&Edit::new().weight(1)).await?;
/// # Ok(())
/// # }
/// ```
pub struct Registrar {
    format: ValueFormat,
    requests: watch::Sender<Requests>,
    answers: watch::Receiver<Answers>,
    status: StatusReceiver<RegistrarStatus>,
    deregister_limit: Duration,
    task: RestartableTask<RegistrarTask>,
}

impl Registrar {
    /// A registrar of `service` with the default options. Spawns nothing, needs no runtime.
    pub fn new(client: impl Client, service: Service) -> Self {
        Self::builder(client, service).build()
    }

    /// A registrar of `service` with other options.
    pub fn builder(client: impl Client, service: Service) -> RegistrarBuilder {
        RegistrarBuilder::new(Arc::new(client), service)
    }

    /// A registrar of a provider of the service called `service`, which says `advert` of itself in `format`, with the
    /// default options. Spawns nothing, needs no runtime.
    ///
    /// # Errors
    /// [`Invalid::Unsayable`] if the format has no way to say something of the advert, and what else is wrong with the
    /// name or the address.
    pub fn of(
        client: impl Client,
        format: &(impl Format + ?Sized),
        service: &str,
        advert: &Advert,
    ) -> Result<Self, Invalid> {
        Ok(Self::builder_of(client, format, service, advert)?.build())
    }

    /// [`of`](Self::of) with other options. The codec is that of the format.
    ///
    /// # Errors
    /// Those of `of`.
    pub fn builder_of(
        client: impl Client,
        format: &(impl Format + ?Sized),
        service: &str,
        advert: &Advert,
    ) -> Result<RegistrarBuilder, Invalid> {
        let codec = format.codec(service)?;
        let service = format.service(service, advert);
        let service = service.map_err(|error| match error.uncallable() {
            Some(why) => why,
            None => Invalid::Unsayable {
                reason: format!("{}: {}", format.name(), ErrorChain(&error)),
            },
        })?;
        Ok(Self::builder(client, service).codec(codec))
    }

    /// Registers the service and keeps it registered; resolves when it is registered. Takes the key
    /// over, whoever holds it, also if it was [taken](RegistrarStatus::Taken) or
    /// [superseded](RegistrarStatus::Superseded) meanwhile.
    ///
    /// Tries again without limit while the error can pass, as while the registry cannot be reached;
    /// [`register_within`](Self::register_within) sets a limit. Returns at once if the service is
    /// registered already, and is the one that was asked last even so. Starts anew after
    /// [`deregister`](Self::deregister).
    ///
    /// Cancelling stops the waiting, not the trying: the registrar goes on until it is
    /// deregistered or dropped.
    ///
    /// # Errors
    /// An error that [cannot pass](Error::is_transient): an invalid entry
    /// ([`Invalid::UncallableAddress`], [`Invalid::UnreadableValue`], [`Invalid::TooLargeForConsumers`]),
    /// refused credentials, missing rights, a client that panics. The registrar has given up then.
    /// [`Error::Superseded`] if another registrar of the same key and client was asked later, and is registered.
    /// [`Error::Closed`] if it was deregistered or its token cancelled meanwhile, the client was
    /// closed, or the task's runtime has ended. [`Error::Invalid`] outside of a tokio runtime.
    pub async fn register(&self) -> Result<()> {
        let call = self.request(|requests, call| {
            requests.register = Some((call, Generation::new()));
        });
        self.start()?;
        self.answer(call, |answers| answers.registered.clone())
            .await?
    }

    /// [`register`](Self::register), but gives up after `limit`, and then deregisters in the
    /// background.
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
        let call = self.request(|requests, call| requests.deregister = call);
        self.start()?;
        // Whether the task has taken note or not: it does so before it calls the client again.
        let _ = timeout(GRACE, self.answer(call, |_| Some(()))).await;
        Err(error.unwrap_or(Error::Timeout {
            operation: "register",
            after: limit,
        }))
    }

    /// Gives the service a new value, under the same lease, also if it has that already; never
    /// overwrites an entry of somebody else. Resolves when the registry has written the value,
    /// however long it is away. If the service is not registered at the moment, it resolves at once,
    /// and the value is remembered.
    ///
    /// The value is the service's from the first poll on, whether or not the future is polled to
    /// its end. Of several values the latest wins, and all callers get its outcome.
    ///
    /// # Errors
    /// An error that [cannot pass](Error::is_transient). A value that the registry can never accept, or
    /// no consumer read or call ([`Error::Invalid`], [`Error::Unsupported`]), is given up, and the one
    /// before stays. After any other error the registrar tries again in the background, as [`status`](Self::status) shows.
    pub async fn update(&self, value: impl Into<Bytes>) -> Result<Updated> {
        let value = value.into();
        loop {
            let key = self.key();
            let wanted = KeyValue::new(key.clone(), value.clone());
            self.format.check(&wanted)?;
            if let Some(call) = self.want(wanted, |before| before.key == key, None) {
                return self.updated(call).await;
            }
        }
    }

    /// [`update`](Self::update) with the key and the value of `service`, as a [format](Format::service) makes them of an
    /// [`Advert`]: for formats that say in the key what others say in the value, and for another address. Its time to
    /// live does not matter.
    ///
    /// Under another key the service is registered anew, on the same lease, whoever holds that key. When that
    /// stands, the entry under the former key is ended: consumers see the new one first, and never neither.
    /// Resolves when both is done. An operator's [edit](Self#edits) goes along.
    ///
    /// ```
    /// # use sd_core::*;
    /// # async fn advertise(registrar: &Registrar, format: &dyn Format) -> Result<(), Box<dyn std::error::Error>> {
    /// let advert = Advert::new("10.0.0.1:8080").weight(1).metadata("degraded", "disk");
    /// registrar.update_service(&format.service("hello", &advert)?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `update`, and [`Error::Superseded`] if another registrar of the same client holds the key and was
    /// asked to register later than this one. The entry before stays.
    pub async fn update_service(&self, service: &Service) -> Result<Updated> {
        let wanted = KeyValue::new(service.key.clone(), service.value.clone());
        self.format.check(&wanted)?;
        let call = self.request(|requests, call| {
            requests.wanted = wanted;
            requests.update = call;
        });
        self.updated(call).await
    }

    /// Changes some attributes of the service's value, and leaves all else in it as it is: an
    /// [`update`](Self::update) with what the [codec](RegistrarBuilder::codec) makes of the value that the owner gave
    /// last. Of several edits at once none is lost. If the format says the change in the key, the entry moves as with
    /// [`update_service`](Self::update_service).
    ///
    /// What it says stands, also where it is what the owner said before: an operator's [edit](Self#edits) of the same attribute
    /// is over.
    ///
    /// ```
    /// # use sd_core::*;
    /// # async fn lighten(registrar: &Registrar) -> Result<()> {
    /// registrar.edit(&Edit::new().weight(1).metadata("degraded", "disk")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Invalid::Unsayable`] if the format has no way to say the change, and those of `update_service`.
    pub async fn edit(&self, edit: &Edit) -> Result<Updated> {
        loop {
            let before = self.requests.borrow().wanted.clone();
            let edited = self.format.edit(&before, edit)?;
            self.format.check(&edited)?;
            if let Some(call) = self.want(edited, |wanted| *wanted == before, Some(edit)) {
                return self.updated(call).await;
            }
        }
    }

    /// Leaves a request for `wanted`, which an `edit` may have made. Returns the number of the call; `None` if what was wanted
    /// until now `is_expected` not to be.
    fn want(
        &self,
        wanted: KeyValue,
        is_expected: impl FnOnce(&KeyValue) -> bool,
        edit: Option<&Edit>,
    ) -> Option<u64> {
        let seen = self.answers.borrow().seen;
        let mut is_left = false;
        let call = self.request(|requests, call| {
            is_left = is_expected(&requests.wanted);
            if is_left {
                requests.wanted = wanted;
                requests.update = call;
                if let Some(edit) = edit {
                    requests.say(edit.clone(), call, seen);
                }
            }
        });
        is_left.then_some(call)
    }

    async fn updated(&self, call: u64) -> Result<Updated> {
        if !self.task.start_again_if_running() {
            return Ok(Updated::Remembered);
        }
        self.answer(call, |answers| answers.updated.clone()).await?
    }

    /// Removes the service's entry while it is ours, and stops keeping it. Resolves when the
    /// registrar has ended, and says what happened.
    ///
    /// Wins every race: gives up what is under way, and puts nothing afterwards but the
    /// announcement of draining, if the codec can say so. Takes no longer than the
    /// [bound](RegistrarBuilder::deregister_timeout) plus the time of
    /// [draining](RegistrarBuilder::drain), also if the runtime of the registrar's task is not
    /// driven, but a second more then. [`Deregistered::Unconfirmed`] if there was no answer by
    /// then. [`Deregistered::NotOurs`] if the service was never registered.
    ///
    /// May be called again: what was removed stays removed, and what was unconfirmed is tried
    /// again. Goes on in the background if the future is dropped after its first poll.
    ///
    /// # Errors
    /// An error of the client that [cannot pass](Error::is_transient). [`Error::Invalid`] outside of
    /// a tokio runtime.
    pub async fn deregister(&self) -> Result<Deregistered> {
        self.end(|requests, call| requests.deregister = call).await
    }

    /// [`deregister`](Self::deregister) without announcing and [draining](RegistrarBuilder::drain), for
    /// a process that has to end. Ends the draining of a `deregister` that is under way, and answers
    /// both.
    ///
    /// Calls that are on their way to the instance may fail.
    ///
    /// # Errors
    /// As `deregister`.
    pub async fn deregister_now(&self) -> Result<Deregistered> {
        self.end(|requests, call| {
            requests.deregister = call;
            requests.deregister_now = call;
        })
        .await
    }

    /// Leaves a request to deregister, and waits until the registrar has ended.
    async fn end(&self, request: impl FnOnce(&mut Requests, u64)) -> Result<Deregistered> {
        let deadline = Instant::now() + self.deregister_limit + GRACE;
        let call = self.request(request);
        self.start()?;
        let answer = self.answer(call, |answers| answers.deregistered.clone());
        let Ok(outcome) = timeout_at(deadline, answer).await else {
            tracing::warn!(service = %Escaped(self.key()), "deregistration unconfirmed: the task does not run");
            return Ok(Deregistered::Unconfirmed);
        };
        let mut answers = self.answers.clone();
        let ended = async {
            select! {
                () = self.task.ended() => {}
                // Somebody registers again already.
                _ = answers.wait_for(|answers| !answers.ended) => {}
            }
        };
        let _ = timeout_at(deadline, ended).await;
        outcome?
    }

    /// Follows what the registrar is doing. A receiver skips the states that nobody read in time,
    /// and is closed once the registrar is dropped and has deregistered.
    ///
    /// ```
    /// # use sd_core::*;
    /// # async fn report(registrar: &Registrar) {
    /// let mut status = registrar.status();
    /// while status.changed().await.is_ok() {
    ///     println!("{}", status.borrow_and_update());
    /// }
    /// # }
    /// ```
    pub fn status(&self) -> StatusReceiver<RegistrarStatus> {
        self.status.clone()
    }

    /// Whether the service is registered and the registry has confirmed that within the TTL, for
    /// whoever reports that the process is ready. Does not wait.
    ///
    /// Goes by the clock of the caller, so it is right also while no task of the registrar or of
    /// its client runs. `false` before the first registration, while an entry is put back or taken,
    /// and after the end.
    ///
    /// A registry that is away makes all its providers unproven at once. Do not have a process
    /// restarted for that; it would come back to the same registry.
    ///
    /// ```
    /// # use sd_core::*;
    /// # fn ready(registrar: &Registrar) -> bool {
    /// registrar.is_proven()
    /// # }
    /// ```
    pub fn is_proven(&self) -> bool {
        let proof = self.answers.borrow().proof.clone();
        proof.is_some_and(|proof| proof.unproven().is_none())
    }

    /// Waits until [`is_proven`](Self::is_proven), for as long as that takes. Returns at once if it
    /// is. Cancellation safe.
    pub async fn wait_proven(&self) {
        // The registrar keeps the channel open.
        let _ = self.status().wait_for(RegistrarStatus::is_proven).await;
    }

    /// The key that the owner wants.
    fn key(&self) -> ServiceKey {
        self.requests.borrow().wanted.key.clone()
    }

    /// Leaves a request for the task. Returns the number of the call.
    fn request(&self, request: impl FnOnce(&mut Requests, u64)) -> u64 {
        let mut call = 0;
        self.requests.send_modify(|requests| {
            requests.last_call += 1;
            call = requests.last_call;
            request(requests, call);
        });
        call
    }

    /// Starts the task if it does not run.
    fn start(&self) -> Result<()> {
        self.task
            .start()
            .map_err(|_| Invalid::Config("a registrar needs a tokio runtime".into()).into())
    }

    /// Waits for the task's answer to `call`.
    async fn answer<T>(&self, call: u64, of: impl Fn(&Answers) -> Option<T>) -> Result<T> {
        let mut answers = self.answers.clone();
        let answer = |answers: &Answers| (answers.seen >= call).then(|| of(answers)).flatten();
        let answers = answers.wait_for(|answers| answer(answers).is_some()).await;
        answers
            .ok()
            .and_then(|answers| answer(&answers))
            .ok_or(Error::Closed)
    }
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar")
            .field("key", &self.key())
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}
