//! Why a call failed for good, attempt by attempt.

use crate::{
    calls::{factory::BoxError, no_endpoints::NoEndpoints},
    instances::Instance,
    registry::{Escaped, Message},
};
use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

/// Why a call failed for good, with the error of every attempt.
///
/// `Display` lists the attempts, and `source()` is the error of the last one.
/// [`into_last`](Self::into_last) returns the last error of the call itself:
///
/// ```
/// use sd_core::{FixedEndpointer, Retry, RoundRobin, Stopped};
/// use std::io;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let nobody = FixedEndpointer::<String>::new([]);
/// let retry = Retry::<_, io::Error>::new(RoundRobin::new(nobody));
/// let error = retry.call(async |_| Ok(())).await.unwrap_err();
/// assert_eq!(error.stopped(), Stopped::NoEndpoints);
/// assert_eq!(error.attempts().len(), 3);
/// assert_eq!(
///     error.to_string(),
///     "3 attempts failed: no endpoints: no instance is registered"
/// );
/// assert!(error.into_last().is_none(), "the call was never made");
/// # }
/// ```
#[derive(Debug)]
pub struct RetryError<Err> {
    pub(super) attempts: Vec<Attempt<Err>>,
    pub(super) stopped: Stopped,
}

/// One attempt that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt<Err> {
    /// The instance that was called; `None` if there was none to call.
    pub instance: Option<Arc<Instance>>,
    /// What happened.
    pub error: AttemptError<Err>,
}

/// How an attempt failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError<Err> {
    /// The call returned this error.
    #[error(transparent)]
    Failed(Err),
    /// There was no answer in time, and the call was dropped. It may have been executed.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long the attempt was given.
        after: Duration,
    },
    /// There was no endpoint to call; nothing was sent.
    #[error(transparent)]
    NoEndpoints(NoEndpoints),
}

/// Why there was no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stopped {
    /// The maximum number of attempts was made.
    AttemptsUsedUp,
    /// The maximum number of attempts was made, and none of them had an endpoint to call.
    NoEndpoints,
    /// The time for all attempts is over, or would be over after the next pause.
    TimedOut,
    /// The [`RetryBudget`](crate::RetryBudget) is spent: too many calls fail.
    BudgetSpent,
    /// The last error must not be retried, see
    /// [`RetryBuilder::retry_if`](crate::RetryBuilder::retry_if).
    NotRetryable,
}

impl RetryError<BoxError> {
    /// Converts it into a [`BoxError`], for use with `?`. `RetryError<BoxError>` itself is not an
    /// [`Error`](StdError), since [`BoxError`] is not.
    ///
    /// ```
    /// # use sd_core::{Balancer, BoxError, Retry, RetryError};
    /// # async fn ask(address: &str) -> Result<String, BoxError> { Ok(address.to_owned()) }
    /// # async fn example(
    /// #     hello: Retry<impl Balancer<Target = String>, BoxError>,
    /// # ) -> Result<(), BoxError> {
    /// let answer = hello.call(async |address| ask(&address).await).await;
    /// println!("{}", answer.map_err(RetryError::into_boxed)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_boxed(self) -> BoxError {
        let attempts = self.attempts.into_iter().map(|attempt| Attempt {
            instance: attempt.instance,
            error: match attempt.error {
                AttemptError::Failed(error) => AttemptError::Failed(Erased(error)),
                AttemptError::TimedOut { after } => AttemptError::TimedOut { after },
                AttemptError::NoEndpoints(none) => AttemptError::NoEndpoints(none),
            },
        });
        Box::new(RetryError {
            attempts: attempts.collect(),
            stopped: self.stopped,
        })
    }
}

impl<Err> RetryError<Err> {
    /// The attempts in order; at least one.
    pub fn attempts(&self) -> &[Attempt<Err>] {
        &self.attempts
    }

    /// Why there was no further attempt.
    pub fn stopped(&self) -> Stopped {
        self.stopped
    }

    /// The last error that the call itself returned. `None` if it returned none.
    pub fn into_last(self) -> Option<Err> {
        let failed = |attempt: Attempt<Err>| match attempt.error {
            AttemptError::Failed(error) => Some(error),
            AttemptError::TimedOut { .. } | AttemptError::NoEndpoints(_) => None,
        };
        self.attempts.into_iter().rev().find_map(failed)
    }
}

impl Stopped {
    /// The label of the metric.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::AttemptsUsedUp => "attempts_used_up",
            Self::NoEndpoints => "no_endpoints",
            Self::TimedOut => "timed_out",
            Self::BudgetSpent => "budget_spent",
            Self::NotRetryable => "not_retryable",
        }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AttemptsUsedUp => "attempts used up",
            Self::NoEndpoints => "no endpoints",
            Self::TimedOut => "timed out",
            Self::BudgetSpent => "retry budget spent",
            Self::NotRetryable => "not to be retried",
        })
    }
}

impl<Err: fmt::Display> fmt::Display for Attempt<Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(instance) = &self.instance {
            write!(f, "{}: ", Escaped(instance.address()))?;
        }
        match &self.error {
            AttemptError::Failed(error) => Message(error).fmt(f),
            AttemptError::TimedOut { after } => write!(f, "no answer within {after:?}"),
            AttemptError::NoEndpoints(none) => none.fmt(f),
        }
    }
}

impl<Err: fmt::Display> fmt::Display for RetryError<Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.attempts.len();
        let noun = if count == 1 { "attempt" } else { "attempts" };
        write!(f, "{count} {noun} failed")?;
        // In that case each attempt says so already.
        if self.stopped != Stopped::NoEndpoints {
            write!(f, " ({})", self.stopped)?;
        }
        let attempts: Vec<String> = self.attempts.iter().map(ToString::to_string).collect();
        for (index, same) in attempts.chunk_by(|a, b| a == b).enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}{}", same[0])?;
            if same.len() > 1 && same.len() < count {
                write!(f, " ({} times)", same.len())?;
            }
        }
        Ok(())
    }
}

impl<Err: StdError + 'static> StdError for RetryError<Err> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.attempts.last().map(|last| match &last.error {
            AttemptError::Failed(error) => error as _,
            AttemptError::NoEndpoints(none) => none as _,
            timed_out @ AttemptError::TimedOut { .. } => timed_out as _,
        })
    }
}

/// A boxed error as a type that implements `Error`, which the box itself does not.
struct Erased(BoxError);

impl fmt::Debug for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Erased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Erased {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
