//! The options of a registrar.

use super::{
    Registrar,
    task::{Answer, Task, Wishes},
    voice::Voice,
};
use crate::{
    instances::{Codec, DefaultCodec},
    provider::{
        meters::RegistrarMeters,
        status::RegistrarStatus,
        tenure::{Tenure, Terms},
    },
    registry::{Client, Service},
};
use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What any time given is cut to, so that no sum of them overflows.
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
    terms: Terms,
    stop: CancellationToken,
}

impl RegistrarBuilder {
    pub(super) fn new(client: Arc<dyn Client>, service: Service) -> Self {
        Self {
            client,
            service,
            terms: Terms {
                retake: false,
                backoff: (Duration::from_millis(100), Duration::from_secs(4)),
                deregister_timeout: Duration::from_secs(5),
                drain: Duration::ZERO,
                codec: Arc::new(DefaultCodec),
            },
            stop: CancellationToken::new(),
        }
    }

    /// What the consumers read the service's value with; used to announce draining. By default
    /// [`DefaultCodec`].
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.terms.codec = Arc::new(codec);
        self
    }

    /// Whether to take the key back when somebody else has taken it. By default not: it is reported
    /// and put back only once it is free.
    ///
    /// Each time it is taken again soon, the next attempt waits longer, up to 75 times the longest
    /// delay of [`backoff`](Self::backoff), so that two who both insist do not wear the registry
    /// out.
    pub fn retake(mut self, retake: bool) -> Self {
        self.terms.retake = retake;
        self
    }

    /// The shortest and the longest delay between attempts, jitter included; by default 100 ms and
    /// 4 s. The first attempt after a loss comes within 100 ms.
    ///
    /// Keep the longest below a third of the consumers' grace period (15 s by default), so that
    /// after an outage everybody is back before anybody is removed. Values are kept to between
    /// 10 ms and an hour, the shortest to half of the longest.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.terms.backoff = (min, max);
        self
    }

    /// How long [`Registrar::deregister`] may take, the time of [draining](Self::drain) not
    /// counted; by default 5 s, at most a day. Announcing gets up to a quarter of it.
    pub fn deregister_timeout(mut self, timeout: Duration) -> Self {
        self.terms.deregister_timeout = timeout.min(A_DAY);
        self
    }

    /// How long draining is announced before the entry is removed; at most a day. By default zero:
    /// the removal follows at once, and consumers know all the same that it is not an accident.
    /// Consumers send no new calls meanwhile, while the provider still serves those on their way.
    /// Where draining could not be announced, nothing is waited for.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.terms.drain = drain.min(A_DAY);
        self
    }

    /// Deregisters for good when `token` is cancelled, as dropping the registrar does.
    pub fn cancellation_token(mut self, token: CancellationToken) -> Self {
        self.stop = token;
        self
    }

    /// The registrar. Starts nothing, needs no runtime.
    pub fn build(self) -> Registrar {
        let key = self.service.key.clone();
        let stop = self.stop.child_token();
        let guard = stop.clone().drop_guard();
        let (wishes, heard) = watch::channel(Wishes::of(self.service.value.clone()));
        let (to_callers, answers) = watch::channel(Answer::default());
        let (to_world, status) = watch::channel(RegistrarStatus::Idle);
        let running = TaskTracker::new();
        running.close();
        let task = Task {
            tenure: Tenure::new(self.terms, self.service.value.clone()),
            client: self.client,
            service: self.service,
            registration: None,
            wishes: heard,
            answers: to_callers,
            status: to_world,
            seen: 0,
            stop,
            stopped: false,
            voice: Voice::default(),
            meters: RegistrarMeters::default(),
        };
        Registrar {
            key,
            wishes,
            answers,
            status,
            parked: Arc::new(Mutex::new(Some(Box::new(task)))),
            running,
            _stop: guard,
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
