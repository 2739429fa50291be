//! Observers: who is told how the calls to an endpoint go.

use std::{fmt, time::Duration};
use tokio::time::Instant;

/// How a call ended, from the endpoint's point of view.
///
/// ```
/// use sd_core::Outcome;
///
/// assert_eq!(Outcome::TimedOut.to_string(), "timed out");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The endpoint did what was asked, or answered that it cannot be done: "not found" is an
    /// answer of a healthy endpoint.
    Success,
    /// The endpoint failed, or the connection to it.
    Failure,
    /// The endpoint refused the call because it has too much to do. It is alive.
    Overloaded,
    /// There was no answer in time.
    TimedOut,
    /// The caller did not wait for the end, or did not report it. Says nothing about the endpoint.
    Cancelled,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A call that has ended, as an [`Observer`] hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedCall {
    /// How it ended.
    pub outcome: Outcome,
    /// The time from the pick to the [answer](crate::Pick::answered): the latency. `None` if there
    /// was no answer before the end.
    pub answered_after: Option<Duration>,
    /// The time from the pick to the end.
    pub duration: Duration,
    /// When it ended; `None` if no observer needs times.
    pub(super) ended_at: Option<Instant>,
}

impl EndedCall {
    /// The time from the pick to the answer, or to the end if no answer was told before.
    pub fn latency(&self) -> Duration {
        self.answered_after.unwrap_or(self.duration)
    }
}

/// Hears of the calls to one endpoint: for balancers that look at load, for adapters that look at
/// errors, and for metrics.
///
/// It is attached to an endpoint ([`Endpoint::observed_by`](crate::Endpoint::observed_by)), so that
/// a call allocates nothing for it, however many observers there are. Calls to endpoints without
/// observers that [need times](Self::needs_times) read no clock.
///
/// The methods run on the caller's thread, during its call: they must neither block nor wait.
///
/// ```
/// use sd_core::{EndedCall, Endpoint, Instance, Key, Observer, Outcome, Pick};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// #[derive(Default)]
/// struct Failures(AtomicU64);
///
/// impl Observer for Failures {
///     fn ended(&self, call: &EndedCall) {
///         if call.outcome == Outcome::Failure {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let failures = Arc::new(Failures::default());
/// let instance = Instance::new(Key::new("a")?, "10.0.0.1:80");
/// let endpoint = Endpoint::new(instance, ()).observed_by(failures.clone());
/// Pick::new(Arc::new(endpoint)).report(Outcome::Failure);
/// assert_eq!(failures.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), sd_core::Invalid>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Whether it looks at times. Reading the clock takes longer than the rest of a pick, so an
    /// observer that only counts answers `false`: if no observer of an endpoint needs them, all
    /// times are zero. Asked once, when the observer is attached.
    fn needs_times(&self) -> bool {
        true
    }

    /// The endpoint was picked: a call begins.
    fn picked(&self) {}

    /// The endpoint has begun to answer, `after` this time. Called at most once for each pick, and
    /// not at all for calls that report nothing before their end.
    fn answered(&self, after: Duration) {
        let _ = after;
    }

    /// The call has ended. Called exactly once for each pick.
    fn ended(&self, call: &EndedCall);
}
