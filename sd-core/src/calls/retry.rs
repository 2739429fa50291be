//! Retries: repeat a failed call on another endpoint.

mod attempts;
mod builder;
mod call;
mod error;
#[cfg(test)]
mod tests;

pub use attempts::{Attempt, AttemptError};
pub use builder::RetryBuilder;
pub use error::{RetryError, StopReason};

use super::{
    balancer::Balancer,
    endpoint::Endpoint,
    no_endpoints::NoEndpoints,
    observer::Outcome,
    pick::{Pick, PickContext},
};
use builder::{Limit, Options};
use call::RetriedCall;
use std::{borrow::Borrow, fmt, future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Makes calls through a [`Balancer`], and repeats a failed call on another endpoint.
///
/// **A call that failed may have been executed.** By default every error of the call is retried,
/// which is right only for calls that may be executed twice. For other calls, accept with
/// [`retry_if`](RetryBuilder::retry_if) only errors which prove that nothing was executed. An
/// attempt that timed out is not retried unless you ask for it
/// ([`retry_timeouts`](RetryBuilder::retry_timeouts)).
///
/// Every call ends within its overall limit ([`timeout`](RetryBuilder::timeout), 10 s by default).
/// When most calls fail, they are not repeated, so that retries cannot keep a backend down: see
/// [`RetryBudget`](crate::RetryBudget). Both can be turned off.
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
    /// Three attempts, with jittered pauses of at most 25 ms and 50 ms between them, 10 s for all
    /// of them, and a [`RetryBudget`](crate::RetryBudget) of its own.
    pub fn new(balancer: B) -> Self {
        Self::builder(balancer).build()
    }

    /// A retry with other options.
    pub fn builder(balancer: B) -> RetryBuilder<B, Err> {
        RetryBuilder::new(balancer)
    }

    /// The balancer that picks the endpoints.
    pub fn balancer(&self) -> &B {
        &self.balancer
    }

    /// The same retry with another overall limit: all attempts and the pauses between them must end
    /// by `deadline`. For calls whose callers say how long they will wait. It replaces the
    /// [`timeout`](RetryBuilder::timeout) of this retry; its budget is shared.
    ///
    /// ```
    /// # use sd_core::{Balancer, Retry, RetryError};
    /// use tokio::time::Instant;
    /// # struct Client;
    /// # impl Client { async fn hello(&self) -> std::io::Result<String> { Ok("hello".into()) } }
    ///
    /// async fn hello(
    ///     clients: &Retry<impl Balancer<Target = Client>, std::io::Error>,
    ///     deadline: Instant,
    /// ) -> Result<String, RetryError<std::io::Error>> {
    ///     clients.until(deadline).call(async |client| client.hello().await).await
    /// }
    /// ```
    pub fn until(&self, deadline: Instant) -> Retry<&B, Err> {
        let mut options = self.options.clone();
        options.limit = Limit::At(deadline);
        Retry {
            balancer: &self.balancer,
            options,
        }
    }

    /// Makes a call. Runs `call` once for each attempt, with the endpoint picked for it. Endpoints
    /// that were not tried yet are preferred (the last 16 count as tried).
    ///
    /// If there is no endpoint to pick, the call fails at once. To wait for one, see
    /// [`wait_for_endpoints`](RetryBuilder::wait_for_endpoints). The
    /// [outcome](RetryBuilder::outcome) of each attempt is reported to the observers of its
    /// endpoint.
    ///
    /// Dropping the future drops the current attempt and makes no other. An attempt that takes too
    /// long is dropped too.
    ///
    /// # Errors
    /// [`RetryError`], with the errors of the attempts.
    pub async fn call<T, F, Fut>(&self, call: F) -> Result<T, RetryError<Err>>
    where
        B: Balancer,
        F: FnMut(Arc<Endpoint<B::Target>>) -> Fut,
        Fut: Future<Output = Result<T, Err>>,
    {
        self.call_with(&PickContext::new(), call).await
    }

    /// Like [`call`](Self::call), with a context for the balancer, such as a hash key. The tried
    /// endpoints of `context` count as tried.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_with<T, F, Fut>(
        &self,
        context: &PickContext<'_>,
        mut call: F,
    ) -> Result<T, RetryError<Err>>
    where
        B: Balancer,
        F: FnMut(Arc<Endpoint<B::Target>>) -> Fut,
        Fut: Future<Output = Result<T, Err>>,
    {
        let begin = |pick: Pick<B::Target>| {
            let attempt = call(pick.endpoint().clone());
            (pick, attempt)
        };
        let succeeded = |pick: Pick<B::Target>| pick.report(Outcome::Success);
        self.make_attempts(context, begin, succeeded).await
    }

    /// Like [`call_with`](Self::call_with), for calls that go on after they have returned, and for
    /// those that judge the answer: hands the [`Pick`] instead of its endpoint.
    ///
    /// The call goes on for as long as a clone of the pick is kept: put it beside the body of a
    /// response or a stream, [report](Pick::report) how that ended, and drop it. Without a report
    /// it counts as cancelled. When `call` has returned, the observers are told that the endpoint
    /// has [answered](Pick::answered). If no clone is kept, the call has succeeded.
    ///
    /// ```
    /// use sd_core::{Balancer, Outcome, Pick, PickContext, Retry, RetryError};
    /// use std::{io, sync::Arc};
    /// # struct Client;
    /// # impl Client { async fn read(&self) -> io::Result<Body> { Ok(Body) } }
    /// # struct Body;
    /// # impl Body { async fn next(&mut self) -> io::Result<Option<String>> { Ok(None) } }
    ///
    /// struct Lines {
    ///     body: Body,
    ///     pick: Arc<Pick<Client>>,
    /// }
    ///
    /// async fn open(
    ///     files: &Retry<impl Balancer<Target = Client>, io::Error>,
    /// ) -> Result<Lines, RetryError<io::Error>> {
    ///     let context = PickContext::new();
    ///     files.call_with_pick(&context, async |pick| {
    ///         let body = pick.read().await?;
    ///         Ok(Lines { body, pick })
    ///     }).await
    /// }
    ///
    /// impl Lines {
    ///     async fn next(&mut self) -> io::Result<Option<String>> {
    ///         let line = self.body.next().await;
    ///         match &line {
    ///             Ok(Some(_)) => {}
    ///             Ok(None) => self.pick.report(Outcome::Success),
    ///             Err(_) => self.pick.report(Outcome::Failure),
    ///         }
    ///         line
    ///     }
    /// }
    /// ```
    ///
    /// The first report counts. So `call` may report by itself what an answer says about the
    /// endpoint that is no error and is not retried, such as an HTTP response with status 500.
    /// An answer that is to be retried has to be an `Err`.
    ///
    /// The limits of time are for `call`, not for what goes on after it. Allocates an `Arc` for
    /// each attempt.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_with_pick<T, F, Fut>(
        &self,
        context: &PickContext<'_>,
        mut call: F,
    ) -> Result<T, RetryError<Err>>
    where
        B: Balancer,
        F: FnMut(Arc<Pick<B::Target>>) -> Fut,
        Fut: Future<Output = Result<T, Err>>,
    {
        let begin = |pick: Pick<B::Target>| {
            let pick = Arc::new(pick);
            let attempt = call(pick.clone());
            (pick, attempt)
        };
        let succeeded = |pick: Arc<Pick<B::Target>>| match Arc::try_unwrap(pick) {
            Ok(pick) => pick.report(Outcome::Success),
            Err(kept) => kept.answered(),
        };
        self.make_attempts(context, begin, succeeded).await
    }

    /// Makes attempts until one succeeds or there must be no further one. `P` is the pick as `begin`
    /// shares it with the attempt.
    async fn make_attempts<T, P, Fut>(
        &self,
        context: &PickContext<'_>,
        mut begin: impl FnMut(Pick<B::Target>) -> (P, Fut),
        succeeded: impl FnOnce(P),
    ) -> Result<T, RetryError<Err>>
    where
        B: Balancer,
        P: Borrow<Pick<B::Target>>,
        Fut: Future<Output = Result<T, Err>>,
    {
        let mut call = RetriedCall::new(&self.options);
        let mut longest_wait = self.options.wait_for_endpoints;
        loop {
            let context_now = context.with_tried(call.tried(context));
            let picked = self.pick(&context_now, call.deadline(), &mut longest_wait);
            let pick = picked.await.map_err(|none| call.has_no_endpoint(none))?;
            let (shared, attempt) = begin(pick);
            let pick: &Pick<B::Target> = shared.borrow();
            let error = match call.attempt(pick, attempt).await {
                Ok(answer) => {
                    call.succeeded();
                    succeeded(shared);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            pick.report(call.outcome(&error));
            let instance = pick.instance().clone();
            // The endpoint is not needed during the pause.
            drop(shared);
            call.failed(instance, error, context).await?;
        }
    }

    /// Picks an endpoint. Waits for one until `deadline`, and no longer than `longest_wait`, which
    /// it shortens.
    async fn pick(
        &self,
        context: &PickContext<'_>,
        deadline: Option<Instant>,
        longest_wait: &mut Duration,
    ) -> Result<Pick<B::Target>, NoEndpoints>
    where
        B: Balancer,
    {
        let picked = self.balancer.pick(context);
        if picked.is_ok() || longest_wait.is_zero() {
            return picked;
        }
        let begun = Instant::now();
        let wait_until = begun.checked_add(*longest_wait);
        let until = deadline.into_iter().chain(wait_until).min();
        // Subscribed before the next pick, so that no change after it is missed.
        let mut versions = self.balancer.versions();
        let picked = loop {
            let none = match self.balancer.pick(context) {
                Err(none @ NoEndpoints::Ended { .. }) => break Err(none),
                Err(none) => none,
                Ok(pick) => break Ok(pick),
            };
            let changed = async { versions.changed().await.is_ok() };
            let changed = match until {
                Some(until) => timeout_at(until, changed).await.unwrap_or(false),
                None => changed.await,
            };
            if !changed {
                break Err(none);
            }
        };
        *longest_wait = longest_wait.saturating_sub(begun.elapsed());
        picked
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
            .field("limit", &self.options.limit)
            .field("budget", &self.options.budget)
            .finish_non_exhaustive()
    }
}
