//! One retried call: its attempts so far, and whether and when to make another.

use super::{
    attempts::{AttemptError, Attempts},
    builder::Options,
    error::{RetryError, StopReason},
};
use crate::{
    calls::{endpoint::Endpoint, meters, observer::Outcome, pick::PickContext},
    instances::Instance,
    support::Backoff,
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout_at},
};

/// The attempts of one call so far. Allocates nothing before the first failure.
pub(super) struct RetriedCall<'a, Err> {
    options: &'a Options<Err>,
    /// When the last attempt must have ended.
    deadline: Option<Instant>,
    attempts: Attempts<Err>,
    /// Whether any attempt had an endpoint to call.
    was_sent: bool,
    tried: Vec<Arc<Instance>>,
    backoff: Option<Backoff>,
}

/// How many tried instances a pick avoids at most; each costs a comparison per endpoint.
const MOST_TRIED: usize = 16;

impl<'a, Err> RetriedCall<'a, Err> {
    pub(super) fn new(options: &'a Options<Err>) -> Self {
        Self {
            options,
            deadline: options
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout)),
            attempts: Attempts::new(),
            was_sent: false,
            tried: Vec::new(),
            backoff: None,
        }
    }

    /// When the last attempt must have ended.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Waits for the end of an attempt. Drops it when its time is over, or its instance gone.
    pub(super) async fn attempt<T, E>(
        &self,
        endpoint: &Endpoint<E>,
        attempt: impl Future<Output = Result<T, Err>>,
    ) -> Result<T, AttemptError<Err>> {
        let attempt = async {
            tokio::select! {
                biased;
                result = attempt => result.map_err(AttemptError::Failed),
                () = endpoint.removed(), if self.options.end_when_removed => {
                    Err(AttemptError::Removed)
                }
            }
        };
        match self.limit() {
            None => attempt.await,
            Some((until, after)) => match timeout_at(until, attempt).await {
                Ok(result) => result,
                Err(_) => Err(AttemptError::TimedOut { after }),
            },
        }
    }

    /// When the next attempt must have ended, and how long that is from now.
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

    /// What a failed attempt says about its endpoint.
    pub(super) fn outcome(&self, error: &AttemptError<Err>) -> Outcome {
        match error {
            AttemptError::Failed(error) => match &self.options.outcome {
                Some(outcome) => outcome(error),
                None => Outcome::Failure,
            },
            AttemptError::TimedOut { .. } => Outcome::TimedOut,
            AttemptError::Removed => Outcome::Cancelled,
            AttemptError::NoEndpoints(_) => Outcome::Failure,
        }
    }

    /// The endpoints that the next pick should avoid.
    pub(super) fn tried<'t>(&'t self, context: &PickContext<'t>) -> &'t [Arc<Instance>] {
        match &*self.tried {
            [] => context.tried,
            tried => tried,
        }
    }

    pub(super) fn add_tried(&mut self, instance: &Arc<Instance>, context: &PickContext<'_>) {
        if self.tried.is_empty() {
            let newest = context.tried.len().saturating_sub(MOST_TRIED);
            self.tried.extend_from_slice(&context.tried[newest..]);
        }
        let again = |tried: &Arc<Instance>| tried.address() == instance.address();
        if self.tried.iter().any(again) {
            // All were tried, so another round begins. It contains only this endpoint so far.
            self.tried.clear();
        }
        if self.tried.len() == MOST_TRIED {
            self.tried.remove(0);
        }
        self.tried.push(instance.clone());
    }

    pub(super) fn succeeded(&self) {
        if let Some(budget) = &self.options.budget {
            budget.succeeded();
        }
    }

    /// Adds a failed attempt, and pauses before the next one.
    ///
    /// # Errors
    /// The error of the whole call, if there is no next one.
    pub(super) async fn failed(
        &mut self,
        instance: Option<Arc<Instance>>,
        error: AttemptError<Err>,
    ) -> Result<(), RetryError<Err>> {
        let retryable = match &error {
            AttemptError::Failed(error) => {
                let retry_if = self.options.retry_if.as_ref();
                retry_if.is_none_or(|retry_if| retry_if(error))
            }
            AttemptError::TimedOut { .. } | AttemptError::Removed => self.options.retry_timeouts,
            AttemptError::NoEndpoints(_) => true,
        };
        let sent = instance.is_some();
        self.was_sent |= sent;
        self.attempts.add(instance, error);
        let stop_reason = match self.pause_before_next(retryable, sent) {
            Ok(pause) => {
                meters::retried();
                if pause.is_zero() {
                    // Without a pause, the loop of attempts would keep its thread to itself.
                    yield_now().await;
                } else {
                    sleep(pause).await;
                }
                return Ok(());
            }
            Err(stop_reason) => stop_reason,
        };
        meters::call_failed(stop_reason.label());
        Err(RetryError {
            attempts: std::mem::replace(&mut self.attempts, Attempts::new()),
            stop_reason,
        })
    }

    /// The pause before the next attempt, or why there is none.
    fn pause_before_next(&mut self, retryable: bool, sent: bool) -> Result<Duration, StopReason> {
        let budget = self.options.budget.as_ref().filter(|_| sent);
        // An error that is not retried says nothing about the backend's health.
        if let Some(budget) = budget.filter(|_| retryable) {
            budget.failed();
        }
        let now = Instant::now();
        let left = self.deadline.map(|at| at.saturating_duration_since(now));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(self.used_up(StopReason::TimedOut));
        }
        if !retryable {
            return Err(StopReason::NotRetryable);
        }
        if self.attempts.made() >= self.options.max_attempts {
            return Err(self.used_up(StopReason::AttemptsUsedUp));
        }
        let options = self.options;
        let backoff = self.backoff.get_or_insert_with(|| options.backoff.clone());
        let pause = backoff.next_delay();
        if left.is_some_and(|left| left <= pause) {
            return Err(self.used_up(StopReason::TimedOut));
        }
        if budget.is_some_and(|budget| !budget.try_retry()) {
            return Err(StopReason::BudgetSpent);
        }
        Ok(pause)
    }

    /// Attempts or time are used up. Without an endpoint in all of them, that is the reason.
    fn used_up(&self, reason: StopReason) -> StopReason {
        if self.was_sent {
            reason
        } else {
            StopReason::NoEndpoints
        }
    }
}
