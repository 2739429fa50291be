//! One retried call: its attempts so far, and whether and when to make another.

use super::{
    builder::Options,
    error::{Attempt, AttemptError, RetryError, Stopped},
};
use crate::{
    calls::{meters, pick::PickContext},
    instances::Instance,
    support::Backoff,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// The attempts of one call so far. Allocates nothing before the first failure.
pub(super) struct RetriedCall<'a, Err> {
    options: &'a Options<Err>,
    /// When the last attempt must have ended.
    deadline: Option<Instant>,
    attempts: Vec<Attempt<Err>>,
    tried: Vec<Arc<Instance>>,
    backoff: Option<Backoff>,
}

impl<'a, Err> RetriedCall<'a, Err> {
    pub(super) fn new(options: &'a Options<Err>) -> Self {
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

    /// When the next attempt must have ended, and how long that is from now.
    pub(super) fn limit(&self) -> Option<(Instant, Duration)> {
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

    /// The endpoints that the next pick should avoid.
    pub(super) fn tried<'t>(&'t self, context: &PickContext<'t>) -> &'t [Arc<Instance>] {
        match &*self.tried {
            [] => context.tried,
            tried => tried,
        }
    }

    pub(super) fn add_tried(&mut self, instance: &Arc<Instance>, context: &PickContext<'_>) {
        if self.tried.is_empty() {
            self.tried.extend_from_slice(context.tried);
        }
        let again = |tried: &Arc<Instance>| tried.address() == instance.address();
        if self.tried.iter().any(again) {
            // All were tried, so another round begins. It contains only this endpoint so far.
            self.tried.clear();
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
            AttemptError::TimedOut { .. } => self.options.retry_timeouts,
            AttemptError::NoEndpoints(_) => true,
        };
        let sent = instance.is_some();
        self.attempts.push(Attempt { instance, error });
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
        meters::call_failed(stopped.label());
        Err(RetryError {
            attempts: std::mem::take(&mut self.attempts),
            stopped,
        })
    }

    /// The pause before the next attempt, or why there is none.
    fn pause_before_next(&mut self, retryable: bool, sent: bool) -> Result<Duration, Stopped> {
        let budget = self.options.budget.as_ref().filter(|_| sent);
        // An error that is not retried says nothing about the backend's health.
        if let Some(budget) = budget.filter(|_| retryable) {
            budget.failed();
        }
        let now = Instant::now();
        let left = self.deadline.map(|at| at.saturating_duration_since(now));
        if left.is_some_and(|left| left.is_zero()) {
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
        if budget.is_some_and(|budget| !budget.try_retry()) {
            return Err(Stopped::BudgetSpent);
        }
        let options = self.options;
        let backoff = self.backoff.get_or_insert_with(|| options.backoff.clone());
        let pause = backoff.next_delay();
        match left {
            Some(left) if left <= pause => Err(Stopped::TimedOut),
            _ => Ok(pause),
        }
    }
}
