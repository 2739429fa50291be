//! One retried call: its attempts so far, and whether and when to make another.

use super::{
    attempts::{AttemptError, Attempts},
    builder::{Judge, Limit, Options},
    error::{RetryError, StopReason},
};
use crate::{
    calls::{
        endpoint::Endpoint, meters, no_endpoints::NoEndpoints, observer::Outcome, pick::PickContext,
    },
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
    /// How many of them count towards the maximum.
    counted: u32,
    tried: Vec<Arc<Instance>>,
    backoff: Option<Backoff>,
}

/// How many tried instances a pick avoids at most; each costs a comparison per endpoint.
const MOST_TRIED: usize = 16;

impl<'a, Err> RetriedCall<'a, Err> {
    pub(super) fn new(options: &'a Options<Err>) -> Self {
        Self {
            options,
            deadline: match options.limit {
                Limit::None => None,
                Limit::After(timeout) => Instant::now().checked_add(timeout),
                Limit::At(deadline) => Some(deadline),
            },
            attempts: Attempts::new(),
            counted: 0,
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

    /// Adds a tried instance. Returns whether all instances had been tried before, or as many as a
    /// pick avoids.
    fn add_tried(&mut self, instance: &Arc<Instance>, context: &PickContext<'_>) -> bool {
        if self.tried.is_empty() {
            let newest = context.tried.len().saturating_sub(MOST_TRIED);
            self.tried.extend_from_slice(&context.tried[newest..]);
        }
        let again = |tried: &Arc<Instance>| tried.address() == instance.address();
        let again = self.tried.iter().any(again);
        let full = self.tried.len() == MOST_TRIED;
        if again {
            // All were tried, so another round begins. It contains only this endpoint so far.
            self.tried.clear();
        } else if full {
            self.tried.remove(0);
        }
        self.tried.push(instance.clone());
        again || full
    }

    pub(super) fn succeeded(&self) {
        if let Some(budget) = &self.options.budget {
            budget.succeeded();
        }
    }

    /// The error of the whole call, since there is no endpoint to call.
    pub(super) fn has_no_endpoint(&mut self, none: NoEndpoints) -> RetryError<Err> {
        self.attempts.add(None, AttemptError::NoEndpoints(none));
        self.stopped(StopReason::NoEndpoints)
    }

    /// Adds a failed attempt, and pauses before the next one.
    ///
    /// # Errors
    /// The error of the whole call, if there is no next one.
    pub(super) async fn failed(
        &mut self,
        instance: Arc<Instance>,
        error: AttemptError<Err>,
        context: &PickContext<'_>,
    ) -> Result<(), RetryError<Err>> {
        let tried_all = self.add_tried(&instance, context);
        let next = self.next_attempt(&error, tried_all);
        self.attempts.add(Some(instance), error);
        let pause = next.map_err(|reason| self.stopped(reason))?;
        meters::retried();
        if pause.is_zero() {
            // Without a pause, the loop of attempts would keep its thread to itself.
            yield_now().await;
        } else {
            sleep(pause).await;
        }
        Ok(())
    }

    fn stopped(&mut self, stop_reason: StopReason) -> RetryError<Err> {
        meters::call_failed(stop_reason.label());
        RetryError {
            attempts: std::mem::replace(&mut self.attempts, Attempts::new()),
            stop_reason,
        }
    }

    /// The pause before the next attempt, or why there is none.
    fn next_attempt(
        &mut self,
        error: &AttemptError<Err>,
        tried_all: bool,
    ) -> Result<Duration, StopReason> {
        let options = self.options;
        let judged = |judge: &Option<Judge<Err, bool>>, default| match (error, judge) {
            (AttemptError::Failed(error), Some(judge)) => judge(error),
            _ => default,
        };
        let not_sent = judged(&options.not_sent, false);
        let retryable = match error {
            AttemptError::TimedOut { .. } | AttemptError::Removed => options.retry_timeouts,
            _ => not_sent || judged(&options.retry_if, true),
        };
        let budget = options.budget.as_ref().filter(|_| !not_sent);
        // An error that is not retried says nothing about the backend's health.
        if let Some(budget) = budget.filter(|_| retryable) {
            budget.failed();
        }
        let now = Instant::now();
        let left = self.deadline.map(|at| at.saturating_duration_since(now));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(StopReason::TimedOut);
        }
        if !retryable {
            return Err(StopReason::NotRetryable);
        }
        if not_sent && !tried_all {
            return Ok(Duration::ZERO);
        }
        self.counted = self.counted.saturating_add(1);
        if self.counted >= options.max_attempts {
            return Err(StopReason::AttemptsUsedUp);
        }
        let asked = match (error, &options.retry_after) {
            (AttemptError::Failed(error), Some(retry_after)) => retry_after(error),
            _ => None,
        };
        let pause = asked.unwrap_or_else(|| {
            let backoff = self.backoff.get_or_insert_with(|| options.backoff.clone());
            backoff.next_delay()
        });
        if left.is_some_and(|left| left <= pause) {
            return Err(StopReason::TimedOut);
        }
        if budget.is_some_and(|budget| !budget.try_retry()) {
            return Err(StopReason::BudgetSpent);
        }
        Ok(pause)
    }
}
