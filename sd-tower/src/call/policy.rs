//! What a call may take: time, attempts, memory.

use sd_core::RetryBudget;
use std::{fmt, sync::Arc, time::Duration};

/// How long a call may take, and when it is made again. `Code` is what a server answers:
/// `tonic::Code` for gRPC, [`http::StatusCode`] for HTTP.
///
/// A request is made again on another endpoint, without being asked for, if [nothing of it was
/// executed](crate::nothing_executed). Whatever else is to be repeated has to be said here, since it
/// may be executed twice. Once the head of a response has been handed to the caller, or more of the
/// request was sent than [may be recorded](Self::replay_limit), a call is made no more.
///
/// | option | default |
/// |---|---|
/// | [`timeout`](Self::timeout): all attempts, to the end of the body | none |
/// | [`answer_timeout`](Self::answer_timeout): from the end of a request to the head of its response | 10 s |
/// | [`per_try_timeout`](Self::per_try_timeout): one attempt, to the head of its response | none |
/// | [`wait_for_endpoints`](Self::wait_for_endpoints): while there is nobody to call | no time |
/// | [`max_attempts`](Self::max_attempts) | 3 |
/// | [`backoff`](Self::backoff) between them | 25 ms to 1 s, with jitter |
/// | [`retry_on`](Self::retry_on): answers that are not handed on but tried again | gRPC: none; HTTP: 502, 503 and 504 of idempotent requests |
/// | [`idempotent`](Self::idempotent) | gRPC: no; HTTP: as the method is |
/// | [`replay_limit`](Self::replay_limit) | 64 KiB |
#[derive(Clone)]
pub struct CallPolicy<Code> {
    pub(super) timeout: Option<Duration>,
    pub(super) answer_timeout: Option<Duration>,
    pub(super) per_try_timeout: Option<Duration>,
    pub(super) wait_for_endpoints: Duration,
    pub(super) max_attempts: u32,
    pub(super) backoff: (Duration, Duration),
    /// `None`: those of the protocol.
    pub(super) retry_on: Option<Vec<Code>>,
    pub(super) idempotent: bool,
    pub(super) replay_limit: usize,
    pub(super) budget: Option<Arc<RetryBudget>>,
}

impl<Code> Default for CallPolicy<Code> {
    fn default() -> Self {
        Self {
            timeout: None,
            answer_timeout: Some(Duration::from_secs(10)),
            per_try_timeout: None,
            wait_for_endpoints: Duration::ZERO,
            max_attempts: 3,
            backoff: (Duration::from_millis(25), Duration::from_secs(1)),
            retry_on: None,
            idempotent: false,
            replay_limit: 64 * 1024,
            budget: None,
        }
    }
}

impl<Code> CallPolicy<Code> {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a call may take that brings no deadline of its own: over the pick, the connection,
    /// the head and the body of all attempts. It ends streams too. Default: no limit.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// How long a server may take to begin its answer to a complete request, in a call without a
    /// deadline. While the caller has nothing more to send yet, the answer is not late. Default:
    /// 10 s, so that no call hangs for ever at a server that has stopped working.
    ///
    /// With HTTP, also how long a server may take no more of an incomplete request. gRPC servers may
    /// let a stream wait as long as they like: whether they are alive is asked by
    /// [pings](crate::Http2Options::keep_alive_interval).
    #[must_use]
    pub fn answer_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.answer_timeout = timeout.into();
        self
    }

    /// How long one attempt may take to the head of its response. Attempts that took longer are
    /// repeated if the call is [idempotent](Self::idempotent). Default: no limit but the others.
    #[must_use]
    pub fn per_try_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.per_try_timeout = timeout.into();
        self
    }

    /// How long a call waits while there is no endpoint, within its other limits (gRPC's [wait for
    /// ready]). Default: not at all, it fails at once and says why.
    ///
    /// In the first two seconds of a client it is not known yet whether there are endpoints. A call
    /// then waits for that in any case.
    ///
    /// [wait for ready]: https://grpc.io/docs/guides/wait-for-ready/
    #[must_use]
    pub fn wait_for_endpoints(mut self, longest: Duration) -> Self {
        self.wait_for_endpoints = longest;
        self
    }

    /// The maximum number of attempts, including the first. Endpoints that could not be reached do
    /// not count until all were tried. Default: 3; 0 counts as 1.
    #[must_use]
    pub fn max_attempts(mut self, most: u32) -> Self {
        self.max_attempts = most;
        self
    }

    /// The pause before a further attempt: it doubles from `first` to `longest`, with jitter. A
    /// server may ask for another one (gRPC's `grpc-retry-pushback-ms`, HTTP's `Retry-After`). If it
    /// asks for more time than the call has, or a call without a deadline for more than its
    /// [`answer_timeout`](Self::answer_timeout), its answer is handed on.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = (first, longest);
        self
    }

    /// The answers after which the call is made again. They say that the server has not done what
    /// was asked; that it has done nothing of it is for you to know. Default: none for gRPC; 502,
    /// 503 and 504 for HTTP. Those of HTTP count for requests that are idempotent, by their method
    /// or by this [policy](Self::idempotent).
    #[must_use]
    pub fn retry_on(mut self, codes: impl IntoIterator<Item = Code>) -> Self {
        self.retry_on = Some(codes.into_iter().collect());
        self
    }

    /// Whether the call may be executed twice. If so, it is made again after an attempt that broke
    /// off or took [too long](Self::per_try_timeout). Default: no; with HTTP, idempotent methods may
    /// always be (`GET`, `HEAD`, `PUT`, `DELETE`, `OPTIONS`, `TRACE`).
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// How many bytes of a request's body are kept while it is sent, in case it has to be sent
    /// again. They are shared with the caller's buffers where it has any. Default: 64 KiB.
    #[must_use]
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.replay_limit = bytes;
        self
    }

    /// The budget that retries are taken from. Default: one for all calls of the client.
    #[must_use]
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }
}

impl<Code: fmt::Debug> fmt::Debug for CallPolicy<Code> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallPolicy")
            .field("timeout", &self.timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("per_try_timeout", &self.per_try_timeout)
            .field("max_attempts", &self.max_attempts)
            .field("retry_on", &self.retry_on)
            .field("idempotent", &self.idempotent)
            .finish_non_exhaustive()
    }
}
