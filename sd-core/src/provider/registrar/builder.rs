//! The options of a registrar.

use super::{
    Registrar,
    publisher::{Answers, Publisher},
    requests::Requests,
    task::RegistrarTask,
};
use crate::{
    instances::{AddressPolicy, Codec, DEFAULT_ENTRY_BYTES, DefaultCodec},
    provider::{
        key_value::KeyValue,
        registration_state::{Options, RegistrationState},
        status::RegistrarStatus,
        value_format::ValueFormat,
    },
    registry::{Client, Owner, Service},
    support::{RestartableTask, StatusReceiver},
};
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The longest time that an option accepts, so that no sum of them overflows.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The options of a [`Registrar`], made by [`Registrar::builder`].
///
/// ```
/// # use sd_core::*;
/// # fn provider(client: impl Client, service: Service) -> Registrar {
/// use std::time::Duration;
/// use tokio_util::sync::CancellationToken;
///
/// let shutdown = CancellationToken::new();
/// let registrar = Registrar::builder(client, service)
///     .drain(Duration::from_secs(2))
///     .cancellation_token(shutdown.clone())
///     .build();
/// # registrar
/// # }
/// ```
#[must_use = "build the registrar"]
pub struct RegistrarBuilder {
    client: Arc<dyn Client>,
    service: Service,
    options: Options,
    /// `None` if only the registrar stops it.
    stop: Option<CancellationToken>,
}

impl RegistrarBuilder {
    pub(super) fn new(client: Arc<dyn Client>, service: Service) -> Self {
        Self {
            client,
            // Other registrars of the same key and client have other owners.
            service: service.owned_by(Owner::new()),
            options: Options {
                retake: false,
                backoff: (Duration::from_millis(100), Duration::from_secs(4)),
                deregister_timeout: Duration::from_secs(5),
                drain: Duration::ZERO,
                format: ValueFormat {
                    codec: Some(Arc::new(DefaultCodec)),
                    addresses: AddressPolicy::default(),
                    most_bytes: DEFAULT_ENTRY_BYTES,
                },
            },
            stop: None,
        }
    }

    /// The codec with which consumers read the service's value; it announces draining. By default
    /// [`DefaultCodec`].
    ///
    /// What it cannot read, in part or at all, is refused by [`Registrar::register`] and
    /// [`Registrar::update`], and so is an address that the [policy](Self::address_policy) refuses. If it
    /// panics, the value is refused, or draining is not announced and the panic is logged.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.options.format.codec = Some(Arc::new(codec));
        self
    }

    /// Which addresses the consumers call: [`Registrar::register`] and [`Registrar::update`] refuse any
    /// other ([`Invalid::UncallableAddress`](crate::Invalid::UncallableAddress)), since no consumer with
    /// this policy would see the instance. Default: [`AddressPolicy::default`].
    pub fn address_policy(mut self, policy: AddressPolicy) -> Self {
        self.options.format.addresses = policy;
        self
    }

    /// How large an entry the consumers read, in bytes: key and value together, and the instance that it
    /// becomes. [`Registrar::register`] and [`Registrar::update`] refuse a larger one
    /// ([`Invalid::TooLargeForConsumers`](crate::Invalid::TooLargeForConsumers)), since consumers leave it
    /// out. Default: 128 KiB, as that of [`PrefixLimits::entry_bytes`](crate::PrefixLimits::entry_bytes).
    pub fn entry_bytes(mut self, bytes: usize) -> Self {
        self.options.format.most_bytes = bytes;
        self
    }

    /// Says that no codec reads the service's value, as that of a lock or of a configuration. The
    /// registrar takes any value then, announces no draining, and keeps no edits.
    ///
    /// ```
    /// # use sd_core::*;
    /// # fn leader(client: impl Client) -> Result<Registrar> {
    /// let leader = Service::new("/leader/billing", "node 7")?;
    /// let registrar = Registrar::builder(client, leader).without_codec().build();
    /// # Ok(registrar)
    /// # }
    /// ```
    pub fn without_codec(mut self) -> Self {
        self.options.format.codec = None;
        self
    }

    /// Whether to take the key back when somebody else has taken it. By default not: the registrar
    /// reports it, and registers again only once the key is free.
    ///
    /// Each time the key is taken again soon, the next attempt waits longer, up to 75 times the
    /// longest delay of [`backoff`](Self::backoff), so that two owners who retake one key from each
    /// other do not overload the registry.
    pub fn retake(mut self, retake: bool) -> Self {
        self.options.retake = retake;
        self
    }

    /// The shortest and the longest delay between attempts, jitter included; by default 100 ms and
    /// 4 s. The first attempt after a loss comes within 100 ms.
    ///
    /// Keep the longest below a third of the consumers' grace period (15 s by default), so that
    /// after an outage all providers are back before consumers remove any. Values are clamped to
    /// between 10 ms and an hour, and the shortest to half of the longest.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.options.backoff = (min, max);
        self
    }

    /// How long [`Registrar::deregister`] may take, the time of [draining](Self::drain) not
    /// counted; by default 5 s, at most a day. Announcing takes up to a quarter of it.
    pub fn deregister_timeout(mut self, timeout: Duration) -> Self {
        self.options.deregister_timeout = timeout.min(A_DAY);
        self
    }

    /// How long [`Registrar::deregister`] waits between telling consumers that the instance goes and its
    /// own end; at most a day. By default zero.
    ///
    /// Where the codec can announce draining, the registrar announces it, waits, and removes the entry.
    /// Consumers then know that the removal is no accident. Where it cannot, as for a plain address, or
    /// where the announcement fails, the registrar removes the entry first and waits then. Either way
    /// consumers send no new calls meanwhile, and the provider serves those that are on their way.
    ///
    /// It does not wait if the service was never registered, if another registrar has superseded it, or
    /// if it is asked to [register](Registrar::register) again.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.options.drain = drain.min(A_DAY);
        self
    }

    /// Deregisters for good when `token` is cancelled, as dropping the registrar does.
    pub fn cancellation_token(mut self, token: CancellationToken) -> Self {
        self.stop = Some(token);
        self
    }

    /// Makes the registrar. Spawns no task, sends nothing, and needs no runtime.
    ///
    /// The first [`Registrar::register`] spawns the registrar's task, on the runtime of its caller.
    /// The task ends when nothing is left to keep; the next `register` spawns it anew, and so does
    /// a [`deregister`](Registrar::deregister), which may have to remove what an earlier task left.
    pub fn build(self) -> Registrar {
        let format = self.options.format.clone();
        let deregister_limit = self.options.deregister_timeout + self.options.drain;
        let stop = self
            .stop
            .map(|token| token.child_token())
            .unwrap_or_default();
        let wanted = KeyValue::new(self.service.key.clone(), self.service.value.clone());
        let (requests, requested) = watch::channel(Requests::new(wanted.clone()));
        let (to_callers, answers) = watch::channel(Answers::default());
        let (to_observers, status) = StatusReceiver::channel(RegistrarStatus::Idle);
        let task = RegistrarTask {
            state: RegistrationState::new(self.options, wanted),
            client: self.client,
            service: self.service,
            registration: None,
            former: Vec::new(),
            requests: requested,
            seen: 0,
            publisher: Publisher::new(to_observers, to_callers, format.clone()),
            stop: stop.clone(),
            stopped: false,
        };
        Registrar {
            format,
            requests,
            answers,
            status,
            deregister_limit,
            task: RestartableTask::new(task, stop),
        }
    }
}

impl fmt::Debug for RegistrarBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrarBuilder")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
