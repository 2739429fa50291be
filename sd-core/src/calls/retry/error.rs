//! Why a call failed for good, attempt by attempt.

use super::attempts::{Attempt, AttemptError, Attempts};
use crate::calls::factory::BoxError;
use std::{error::Error as StdError, fmt};

/// Why a call failed for good, with the errors of its attempts.
///
/// `Display` lists the attempts, and `source()` is the error of the last one.
/// [`into_last`](Self::into_last) returns the last error of the call itself:
///
/// ```
/// use sd_core::{FixedEndpointer, Retry, RoundRobin, StopReason};
/// use std::io;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let nobody = FixedEndpointer::<String>::new([]);
/// let retry = Retry::<_, io::Error>::new(RoundRobin::new(nobody));
/// let error = retry.call(async |_| Ok(())).await.unwrap_err();
/// assert_eq!(error.stop_reason(), StopReason::NoEndpoints);
/// assert_eq!(
///     error.to_string(),
///     "1 attempt failed: no endpoints: no instance is registered"
/// );
/// assert!(error.into_last().is_none(), "the call was never made");
/// # }
/// ```
#[derive(Debug)]
pub struct RetryError<Err> {
    pub(super) attempts: Attempts<Err>,
    pub(super) stop_reason: StopReason,
}

/// Why there was no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The maximum number of attempts was made.
    AttemptsUsedUp,
    /// There was no endpoint to call, also not after the wait for
    /// [endpoints](crate::RetryBuilder::wait_for_endpoints).
    NoEndpoints,
    /// The time for all attempts is over, or would be over after the next pause.
    TimedOut,
    /// The [`RetryBudget`](crate::RetryBudget) is spent: too many calls fail.
    BudgetSpent,
    /// The last error must not be retried, see
    /// [`retry_if`](crate::RetryBuilder::retry_if) and
    /// [`retry_timeouts`](crate::RetryBuilder::retry_timeouts).
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
        Box::new(RetryError {
            attempts: self.attempts.map(Erased),
            stop_reason: self.stop_reason,
        })
    }
}

impl<Err> RetryError<Err> {
    /// The attempts in order, at least one. Of more than eight, the first three, the last four or
    /// five, and the last one that the call itself failed are kept; see
    /// [`Attempt::number`].
    pub fn attempts(&self) -> &[Attempt<Err>] {
        self.attempts.kept()
    }

    /// How many attempts were made, those included that were not kept.
    pub fn attempts_made(&self) -> u32 {
        self.attempts.made()
    }

    /// Why there was no further attempt.
    pub fn stop_reason(&self) -> StopReason {
        self.stop_reason
    }

    /// The last error that the call itself returned. `None` if it returned none.
    pub fn into_last(self) -> Option<Err> {
        let failed = |attempt: Attempt<Err>| match attempt.error {
            AttemptError::Failed(error) => Some(error),
            _ => None,
        };
        self.attempts.into_kept().into_iter().rev().find_map(failed)
    }
}

impl StopReason {
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

impl fmt::Display for StopReason {
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

impl<Err: fmt::Display> fmt::Display for RetryError<Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts_made() {
            1 => f.write_str("1 attempt failed")?,
            made => write!(f, "{made} attempts failed")?,
        }
        // In that case each attempt says so already.
        if self.stop_reason != StopReason::NoEndpoints {
            write!(f, " ({})", self.stop_reason)?;
        }
        write!(f, ": {}", self.attempts)
    }
}

impl<Err: StdError + 'static> StdError for RetryError<Err> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.attempts().last().map(|last| last.error.as_error())
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
