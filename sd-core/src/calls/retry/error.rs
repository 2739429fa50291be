//! Why a call failed for good, attempt by attempt.

use crate::{
    calls::{endpoint::NoEndpoints, factory::BoxError},
    instances::Instance,
};
use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

/// Why a call failed although it was retried, with the cause of every attempt.
///
/// `source()` is the cause of the last one. For the error of the call itself, see
/// [`into_last`](Self::into_last).
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
    /// There was no answer in time, and the call was dropped. It may have had its effect.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// There was no endpoint to call; nothing was sent.
    #[error(transparent)]
    NoEndpoints(NoEndpoints),
}

/// Why there was not one attempt more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stopped {
    /// There were as many as allowed.
    AttemptsUsedUp,
    /// There were as many as allowed, and no endpoint to call in any of them.
    NoEndpoints,
    /// The time for all attempts together is over, or would have been after the next pause.
    TimedOut,
    /// Too many calls fail: the [`RetryBudget`](crate::RetryBudget) is spent.
    BudgetSpent,
    /// The last failure is not one to be retried.
    NotRetryable,
}

impl RetryError<BoxError> {
    /// The same as an error that `?` takes, which this one is not: [`BoxError`] itself does not
    /// implement [`Error`](StdError).
    ///
    /// ```
    /// # use sd_core::{Balancer, BoxError, Retry, RetryError};
    /// # async fn ask(address: &str) -> Result<String, BoxError> { Ok(address.to_owned()) }
    /// # async fn example(hello: Retry<impl Balancer<String>, BoxError>) -> Result<(), BoxError> {
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
    /// Every attempt in its order; one at least.
    pub fn attempts(&self) -> &[Attempt<Err>] {
        &self.attempts
    }

    /// Why there was not one more.
    pub fn stopped(&self) -> Stopped {
        self.stopped
    }

    /// The last error that the call itself returned, if it ever did.
    pub fn into_last(self) -> Option<Err> {
        let failed = |attempt: Attempt<Err>| match attempt.error {
            AttemptError::Failed(error) => Some(error),
            AttemptError::TimedOut { .. } | AttemptError::NoEndpoints(_) => None,
        };
        self.attempts.into_iter().rev().find_map(failed)
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
            write!(f, "{}: ", instance.address())?;
        }
        match &self.error {
            AttemptError::Failed(error) => error.fmt(f),
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
        // Otherwise each attempt says so.
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

/// An error of any type as one of a certain type, as a box of one is none itself.
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
