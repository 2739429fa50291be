//! Retries: a call that fails on one endpoint is made on another.

mod builder;
mod error;
#[cfg(test)]
mod tests;

pub use builder::RetryBuilder;
pub use error::{Attempt, AttemptError, RetryError, Stopped};

use super::{
    balancer::{Balancer, Outcome, PickContext},
    endpoint::Endpoint,
    meters,
};
use crate::{registry::Key, support::Backoff};
use builder::Options;
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// Makes calls by way of a [`Balancer`], on another endpoint if one fails.
///
/// **A call that failed may have had its effect**, above all if it timed out: by default every
/// failure is retried, which is right for calls that may happen twice. For others, say with
/// [`retry_if`](RetryBuilder::retry_if) which errors prove that nothing happened, and turn
/// [`retry_timeouts`](RetryBuilder::retry_timeouts) off.
///
/// `Err` is the error of the calls.
///
/// ```
/// # use sd_core::{Endpoint, FixedEndpointer, Instance, Key};
/// use sd_core::{Retry, RoundRobin};
/// use std::{io, time::Duration};
/// # struct Client;
/// # impl Client { async fn hello(&self) -> io::Result<String> { Ok("hello".into()) } }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let instance = Instance::new(Key::new("a")?, "10.0.0.1:80");
/// # let endpointer = FixedEndpointer::new([Endpoint::new(instance, Client)]);
/// let retry = Retry::builder(RoundRobin::new(endpointer))
///     .max_attempts(3)
///     .per_try_timeout(Duration::from_millis(500))
///     .timeout(Duration::from_secs(2))
///     .retry_if(|error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused)
///     .build();
///
/// let answer = retry.call(async |client| client.hello().await).await?;
/// assert_eq!(answer, "hello");
/// # Ok(())
/// # }
/// ```
pub struct Retry<B, Err> {
    balancer: B,
    options: Options<Err>,
}

impl<B, Err> Retry<B, Err> {
    /// Three attempts, with jittered pauses of at most 25 ms and 50 ms between them, and no timeout.
    pub fn new(balancer: B) -> Self {
        Self::builder(balancer).build()
    }

    /// The same with options.
    pub fn builder(balancer: B) -> RetryBuilder<B, Err> {
        RetryBuilder::new(balancer)
    }

    /// Who picks the endpoints.
    pub fn balancer(&self) -> &B {
        &self.balancer
    }

    /// Makes a call: `call` is called with the endpoint picked for the first attempt, and again
    /// with another one for each further attempt. Endpoints that were not tried yet are preferred.
    ///
    /// That there is no endpoint is a failed attempt like any other, though it costs nothing of the
    /// budget: endpoints may be there after the pause. The balancer hears how each attempt ended.
    ///
    /// Dropping the future drops the attempt under way, and nothing more is sent. An attempt that
    /// takes too long is dropped as well.
    ///
    /// # Errors
    /// [`RetryError`], with what every attempt ended in.
    pub async fn call<E, T, F, Fut>(&self, call: F) -> Result<T, RetryError<Err>>
    where
        B: Balancer<E>,
        F: FnMut(Arc<Endpoint<E>>) -> Fut,
        Fut: Future<Output = Result<T, Err>>,
    {
        self.call_with(&PickContext::new(), call).await
    }

    /// The same for a call of which something is known, such as a hash key. Counts the endpoints
    /// that `context` says were tried as tried.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_with<E, T, F, Fut>(
        &self,
        context: &PickContext<'_>,
        mut call: F,
    ) -> Result<T, RetryError<Err>>
    where
        B: Balancer<E>,
        F: FnMut(Arc<Endpoint<E>>) -> Fut,
        Fut: Future<Output = Result<T, Err>>,
    {
        let mut retries = Retries::new(&self.options);
        loop {
            let tried = match &*retries.tried {
                [] => context.tried,
                tried => tried,
            };
            let pick = match self.balancer.pick(&context.with_tried(tried)) {
                Ok(pick) => pick,
                Err(none) => {
                    let error = AttemptError::NoEndpoints(none);
                    retries
                        .failed(Attempt {
                            instance: None,
                            error,
                        })
                        .await?;
                    continue;
                }
            };
            let limit = retries.limit();
            let called = call(pick.endpoint().clone());
            let result = match limit {
                None => called.await.map_err(AttemptError::Failed),
                Some((until, after)) => match timeout_at(until, called).await {
                    Ok(result) => result.map_err(AttemptError::Failed),
                    Err(_) => Err(AttemptError::TimedOut { after }),
                },
            };
            let error = match result {
                Ok(answer) => {
                    retries.succeeded();
                    pick.report(Outcome::Success);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let instance = Some(pick.instance().clone());
            retries.note_tried(pick.key(), context);
            pick.report(match error {
                AttemptError::TimedOut { .. } => Outcome::TimedOut,
                AttemptError::Failed(_) | AttemptError::NoEndpoints(_) => Outcome::Failure,
            });
            retries.failed(Attempt { instance, error }).await?;
        }
    }
}

/// One call's attempts so far. Nothing is allocated before the first failure.
struct Retries<'a, Err> {
    options: &'a Options<Err>,
    /// When all must be over.
    deadline: Option<Instant>,
    attempts: Vec<Attempt<Err>>,
    tried: Vec<Key>,
    backoff: Option<Backoff>,
}

impl<'a, Err> Retries<'a, Err> {
    fn new(options: &'a Options<Err>) -> Self {
        Self {
            options,
            deadline: options
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout)),
            attempts: Vec::new(),
            tried: Vec::new(),
            backoff: None,
        }
    }

    /// Until when the next attempt may take, and how long that is.
    fn limit(&self) -> Option<(Instant, Duration)> {
        if self.deadline.is_none() && self.options.per_try_timeout.is_none() {
            return None;
        }
        let now = Instant::now();
        let left = self.deadline.map(|at| at.saturating_duration_since(now));
        let after = [self.options.per_try_timeout, left]
            .into_iter()
            .flatten()
            .min()?;
        now.checked_add(after).map(|until| (until, after))
    }

    fn note_tried(&mut self, key: &Key, context: &PickContext<'_>) {
        if self.tried.is_empty() {
            self.tried.extend_from_slice(context.tried);
        }
        if self.tried.contains(key) {
            // All were tried: the next round begins with those that were not in this one.
            self.tried.clear();
        }
        self.tried.push(key.clone());
    }

    fn succeeded(&self) {
        if let Some(budget) = &self.options.budget {
            budget.succeeded();
        }
    }

    /// Takes note of a failure and pauses before the next attempt, if there is to be one.
    async fn failed(&mut self, attempt: Attempt<Err>) -> Result<(), RetryError<Err>> {
        let retryable = match &attempt.error {
            AttemptError::Failed(error) => {
                let retry_if = self.options.retry_if.as_ref();
                retry_if.is_none_or(|retry_if| retry_if(error))
            }
            AttemptError::TimedOut { .. } => self.options.retry_timeouts,
            AttemptError::NoEndpoints(_) => true,
        };
        let sent = attempt.instance.is_some();
        self.attempts.push(attempt);
        let stopped = match self.pause_before_next(retryable, sent) {
            Ok(pause) => {
                meters::retried();
                if !pause.is_zero() {
                    sleep(pause).await;
                }
                return Ok(());
            }
            Err(stopped) => stopped,
        };
        meters::call_failed(stopped);
        Err(RetryError {
            attempts: std::mem::take(&mut self.attempts),
            stopped,
        })
    }

    fn pause_before_next(&mut self, retryable: bool, sent: bool) -> Result<Duration, Stopped> {
        let budget = self.options.budget.as_ref().filter(|_| sent);
        // An answer that is not to be retried says nothing of the backend's health.
        if let Some(budget) = budget.filter(|_| retryable) {
            budget.failed();
        }
        let now = self.deadline.map(|_| Instant::now());
        if self
            .deadline
            .is_some_and(|at| now.is_some_and(|now| at <= now))
        {
            return Err(Stopped::TimedOut);
        }
        if !retryable {
            return Err(Stopped::NotRetryable);
        }
        if self.attempts.len() >= self.options.max_attempts as usize {
            let never_sent = self.attempts.iter().all(|one| one.instance.is_none());
            return Err(if never_sent {
                Stopped::NoEndpoints
            } else {
                Stopped::AttemptsUsedUp
            });
        }
        if budget.is_some_and(|budget| !budget.allows_retry()) {
            return Err(Stopped::BudgetSpent);
        }
        let options = self.options;
        let backoff = self.backoff.get_or_insert_with(|| options.backoff.clone());
        let pause = backoff.next_delay();
        let left = self.deadline.zip(now).map(|(at, now)| at - now);
        match left {
            Some(left) if left <= pause => Err(Stopped::TimedOut),
            _ => Ok(pause),
        }
    }
}

impl<B: Clone, Err> Clone for Retry<B, Err> {
    fn clone(&self) -> Self {
        Self {
            balancer: self.balancer.clone(),
            options: self.options.clone(),
        }
    }
}

impl<B: fmt::Debug, Err> fmt::Debug for Retry<B, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("balancer", &self.balancer)
            .field("max_attempts", &self.options.max_attempts)
            .field("per_try_timeout", &self.options.per_try_timeout)
            .field("timeout", &self.options.timeout)
            .field("budget", &self.options.budget)
            .finish_non_exhaustive()
    }
}
