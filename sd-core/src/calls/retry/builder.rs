//! The options of a retry.

use super::Retry;
use crate::{
    calls::{budget::RetryBudget, observer::Outcome},
    support::Backoff,
};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// The options of a [`Retry`], see there for an example.
#[must_use = "nothing happens before `build`"]
pub struct RetryBuilder<B, Err>(Retry<B, Err>);

impl<B, Err> RetryBuilder<B, Err> {
    pub(super) fn new(balancer: B) -> Self {
        Self(Retry {
            balancer,
            options: Options {
                max_attempts: 3,
                per_try_timeout: None,
                limit: Limit::After(Duration::from_secs(10)),
                backoff: Backoff::new(Duration::from_millis(25), Duration::from_secs(1)),
                budget: Some(Arc::default()),
                retry_if: None,
                retry_after: None,
                not_sent: None,
                retry_timeouts: false,
                end_when_removed: false,
                wait_for_endpoints: Duration::ZERO,
                outcome: None,
            },
        })
    }

    /// The maximum number of attempts, including the first. Default: 3; 0 counts as 1. To try for
    /// as long as there is time, pass `u32::MAX`.
    pub fn max_attempts(mut self, most: u32) -> Self {
        self.0.options.max_attempts = most.max(1);
        self
    }

    /// How long one attempt may take, from the pick to the answer. After that it is dropped and
    /// counts as failed. Default: no limit but the [overall one](Self::timeout).
    pub fn per_try_timeout(mut self, timeout: Duration) -> Self {
        self.0.options.per_try_timeout = Some(timeout);
        self
    }

    /// How long all attempts and the pauses between them may take together. If the next pause would
    /// use up the rest of it, the call fails at once. Default: 10 s, as for the routes of
    /// [Linkerd](https://linkerd.io/2/features/retries-and-timeouts/), so that every call ends: an
    /// instance that went away without closing its connections never answers.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.options.limit = Limit::After(timeout);
        self
    }

    /// No overall limit. A call may then last for ever, unless each attempt has a limit
    /// ([`per_try_timeout`](Self::per_try_timeout), or one of the call's own).
    pub fn without_timeout(mut self) -> Self {
        self.0.options.limit = Limit::None;
        self
    }

    /// The pause before a further attempt. It doubles from `first` up to `longest`, with jitter:
    /// each pause is drawn from the upper half of its range. Two zeros mean no pause; other tasks
    /// get their turn all the same. Default: 25 ms to 1 s.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.0.options.backoff = Backoff::new(first, longest);
        self
    }

    /// Retries only while this budget allows it. Share one between all retries that call the same
    /// service. Default: a [`RetryBudget::default`] for this retry and its clones.
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.0.options.budget = Some(budget);
        self
    }

    /// Retries however many calls fail. A backend that is down or overloaded then gets
    /// [`max_attempts`](Self::max_attempts) times as many requests as a healthy one.
    pub fn without_budget(mut self) -> Self {
        self.0.options.budget = None;
        self
    }

    /// Retries only errors for which `predicate` returns `true`. Default: all errors, which is
    /// wrong for calls that must not be executed twice.
    pub fn retry_if(mut self, predicate: impl Fn(&Err) -> bool + Send + Sync + 'static) -> Self {
        self.0.options.retry_if = Some(Arc::new(predicate));
        self
    }

    /// The errors which prove that the endpoint was not reached, such as a refused connection.
    /// Default: none is known to.
    ///
    /// Another endpoint is then called without a pause, it costs no [budget](Self::budget), since
    /// nobody was given work, and is not counted as an attempt until all endpoints were tried, or
    /// sixteen of them: a call does not fail because its first picks fell on hosts that have just
    /// died. [`retry_if`](Self::retry_if) is not asked.
    ///
    /// ```
    /// # use sd_core::{Balancer, Retry};
    /// use std::io::{Error, ErrorKind};
    ///
    /// # fn files<B: Balancer>(balancer: B) -> Retry<B, Error> {
    /// Retry::builder(balancer)
    ///     .not_sent(|error: &Error| error.kind() == ErrorKind::ConnectionRefused)
    ///     .build()
    /// # }
    /// ```
    pub fn not_sent(mut self, proves: impl Fn(&Err) -> bool + Send + Sync + 'static) -> Self {
        self.0.options.not_sent = Some(Arc::new(proves));
        self
    }

    /// How long the endpoint asks to wait before the call is made again, if the error says so:
    /// gRPC's [pushback], HTTP's `Retry-After`. It replaces the pause of the
    /// [backoff](Self::backoff). Default: none says so.
    ///
    /// [pushback]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
    pub fn retry_after(
        mut self,
        pause: impl Fn(&Err) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.0.options.retry_after = Some(Arc::new(pause));
        self
    }

    /// Whether to retry an attempt that was dropped before it was answered: it took longer than
    /// [`per_try_timeout`](Self::per_try_timeout), or its [instance was
    /// removed](Self::end_when_removed). It may have been executed. Default: no.
    pub fn retry_timeouts(mut self, retry: bool) -> Self {
        self.0.options.retry_timeouts = retry;
        self
    }

    /// Whether an attempt ends as soon as its instance is certainly gone
    /// ([`Endpoint::removed`](crate::Endpoint::removed)), rather than wait for its limit of time.
    /// It is dropped, counts as failed ([`AttemptError::Removed`](crate::AttemptError::Removed)),
    /// and is retried as a [timeout](Self::retry_timeouts) is. Its outcome is
    /// [`Outcome::Cancelled`]: that the registry removed the instance is nothing that the endpoint
    /// did.
    ///
    /// Default: no, since the registry may be wrong. An instance that only lost its lease may still
    /// answer.
    pub fn end_when_removed(mut self, end: bool) -> Self {
        self.0.options.end_when_removed = end;
        self
    }

    /// How long a call waits for an endpoint while there is none to pick, within its [overall
    /// limit](Self::timeout). gRPC calls this [wait for ready]. All waits of a call count together.
    /// A wait is no attempt, and costs nothing while nothing changes. It ends early if there will be
    /// no endpoint ([`NoEndpoints::Ended`](crate::NoEndpoints::Ended)).
    ///
    /// Default: zero. A call for which there is no endpoint fails at once.
    ///
    /// [wait for ready]: https://grpc.io/docs/guides/wait-for-ready/
    pub fn wait_for_endpoints(mut self, longest: Duration) -> Self {
        self.0.options.wait_for_endpoints = longest;
        self
    }

    /// What an error of the call says about the endpoint. Balancers and adapters that look at
    /// errors hear of it, whether or not the error is [retried](Self::retry_if): a healthy endpoint
    /// answers "not found", and an endpoint that answers "too busy" is not broken. Default:
    /// [`Outcome::Failure`] for all errors.
    ///
    /// A timeout is [`Outcome::TimedOut`] in any case. To judge answers that are no errors, see
    /// [`Retry::call_with_pick`].
    ///
    /// ```
    /// # use sd_core::{Balancer, Retry};
    /// use sd_core::Outcome;
    /// use std::io::{Error, ErrorKind};
    ///
    /// # fn files<B: Balancer>(balancer: B) -> Retry<B, Error> {
    /// Retry::builder(balancer)
    ///     .retry_if(|error: &Error| error.kind() != ErrorKind::NotFound)
    ///     .outcome(|error: &Error| match error.kind() {
    ///         ErrorKind::NotFound => Outcome::Success,
    ///         ErrorKind::ResourceBusy => Outcome::Overloaded,
    ///         ErrorKind::TimedOut => Outcome::TimedOut,
    ///         _ => Outcome::Failure,
    ///     })
    ///     .build()
    /// # }
    /// ```
    pub fn outcome(mut self, classify: impl Fn(&Err) -> Outcome + Send + Sync + 'static) -> Self {
        self.0.options.outcome = Some(Arc::new(classify));
        self
    }

    /// The retry with these options. Spawns nothing.
    pub fn build(self) -> Retry<B, Err> {
        self.0
    }
}

impl<B: fmt::Debug, Err> fmt::Debug for RetryBuilder<B, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetryBuilder").field(&self.0).finish()
    }
}

pub(super) struct Options<Err> {
    pub(super) max_attempts: u32,
    pub(super) per_try_timeout: Option<Duration>,
    pub(super) limit: Limit,
    pub(super) backoff: Backoff,
    pub(super) budget: Option<Arc<RetryBudget>>,
    pub(super) retry_if: Option<Judge<Err, bool>>,
    pub(super) retry_after: Option<Judge<Err, Option<Duration>>>,
    pub(super) not_sent: Option<Judge<Err, bool>>,
    pub(super) retry_timeouts: bool,
    pub(super) end_when_removed: bool,
    pub(super) wait_for_endpoints: Duration,
    pub(super) outcome: Option<Judge<Err, Outcome>>,
}

/// When all attempts must have ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    None,
    /// After the call began.
    After(Duration),
    At(Instant),
}

/// What the caller says about an error.
pub(super) type Judge<Err, T> = Arc<dyn Fn(&Err) -> T + Send + Sync>;

impl<Err> Clone for Options<Err> {
    fn clone(&self) -> Self {
        Self {
            backoff: self.backoff.clone(),
            budget: self.budget.clone(),
            retry_if: self.retry_if.clone(),
            retry_after: self.retry_after.clone(),
            not_sent: self.not_sent.clone(),
            outcome: self.outcome.clone(),
            ..*self
        }
    }
}
