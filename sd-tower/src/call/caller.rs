//! Calls through a balancer.

use super::{
    attempt_error::AttemptError,
    begun_call::{BegunCall, Call},
    classifier::Classifier,
    policy::CallPolicy,
    protocol::Protocol,
    request_body::{RecordedBody, RequestBody},
    response_body::ResponseBody,
    routing::Routing,
};
use bytes::Bytes;
use http::{Request, Response, request};
use http_body::Body;
use sd_core::{
    Attempt, Balancer, BoxError, NoEndpoints, Pick, PickContext, Retry, RetryBudget, RetryError,
};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, atomic::AtomicU32},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use tower::Service;

/// Makes calls to targets of type `T`, each through one pick of a balancer and, if it may, through
/// further ones.
pub(crate) struct Caller<T, P: Protocol> {
    protocol: P,
    balancer: Arc<dyn Balancer<Target = T>>,
    budget: Arc<RetryBudget>,
    default: Route<T, P>,
    /// By what [`Protocol::method`] says, or a beginning of it that ends with a slash.
    routes: HashMap<Box<str>, Route<T, P>>,
    classifier: Option<Classifier<P::Code>>,
    /// Until when a call waits for the first answer of the registry.
    known_by: Instant,
}

/// How long after its start a client waits for what it does not know yet.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// A policy, and the retry that keeps it.
pub(super) struct Route<T, P: Protocol> {
    policy: CallPolicy<P::Code>,
    retry: Retry<Arc<dyn Balancer<Target = T>>, AttemptError>,
}

impl<T: Send + Sync + 'static, P: Protocol> Route<T, P> {
    fn new(
        policy: CallPolicy<P::Code>,
        balancer: Arc<dyn Balancer<Target = T>>,
        budget: &Arc<RetryBudget>,
    ) -> Self {
        let (first, longest) = policy.backoff;
        let retry = Retry::builder(balancer)
            .max_attempts(policy.max_attempts)
            .backoff(first, longest)
            .without_timeout()
            .wait_for_endpoints(policy.wait_for_endpoints)
            .budget(policy.budget.as_ref().unwrap_or(budget).clone())
            .retry_if(|error: &AttemptError| error.may_retry)
            .not_sent(|error| error.nothing_executed)
            .retry_after(|error| error.retry_after)
            .outcome(|error| error.outcome);
        Self {
            policy,
            retry: retry.build(),
        }
    }

    /// Makes attempts until one succeeds or there must be no further one.
    async fn call<A, F, Fut>(
        &self,
        context: &PickContext<'_>,
        deadline: Option<Instant>,
        attempt: F,
    ) -> Result<A, RetryError<AttemptError>>
    where
        F: FnMut(Arc<Pick<T>>) -> Fut,
        Fut: Future<Output = Result<A, AttemptError>>,
    {
        match deadline {
            Some(deadline) => (self.retry.until(deadline).call_with_pick(context, attempt)).await,
            None => self.retry.call_with_pick(context, attempt).await,
        }
    }
}

impl<T, P> Caller<T, P>
where
    T: Send + Sync + 'static,
    P: Protocol,
{
    pub(crate) fn new(
        protocol: P,
        balancer: Arc<dyn Balancer<Target = T>>,
        policy: CallPolicy<P::Code>,
        routes: impl IntoIterator<Item = (Box<str>, CallPolicy<P::Code>)>,
        classifier: Option<Classifier<P::Code>>,
    ) -> Self {
        let budget = Arc::<RetryBudget>::default();
        let route = |policy| Route::new(policy, balancer.clone(), &budget);
        Self {
            protocol,
            default: route(policy),
            routes: (routes.into_iter())
                .map(|(method, policy)| (method, route(policy)))
                .collect(),
            balancer,
            budget,
            classifier,
            known_by: Instant::now() + FIRST_ANSWER,
        }
    }

    pub(crate) fn balancer(&self) -> &Arc<dyn Balancer<Target = T>> {
        &self.balancer
    }

    /// Waits until a call finds an endpoint, or none is in sight.
    pub(crate) async fn ready(&self) -> Result<(), NoEndpoints> {
        self.wait_while(NoEndpoints::is_transient).await
    }

    /// Waits while there is no endpoint for such a reason. Picks one to know, and lets it go.
    pub(crate) async fn wait_while(
        &self,
        is_awaited: impl Fn(&NoEndpoints) -> bool,
    ) -> Result<(), NoEndpoints> {
        let mut versions = self.balancer.versions();
        loop {
            // Before the pick, so that no change after it is missed.
            versions.borrow_and_update();
            let none = match self.balancer.endpoint() {
                // There are endpoints, for calls that say which lane they want.
                Ok(_) | Err(NoEndpoints::NoLane { .. }) => return Ok(()),
                Err(none) => none,
            };
            if !is_awaited(&none) || versions.changed().await.is_err() {
                return Err(none);
            }
        }
    }

    /// Whether a call failed because it is not known yet whether there are endpoints. Just after the
    /// start a program does not want to hear of that: waits until it is known.
    async fn has_to_know(
        &self,
        error: &RetryError<AttemptError>,
        deadline: Option<Instant>,
    ) -> bool {
        let until = deadline.map_or(self.known_by, |at| at.min(self.known_by));
        let last = error.attempts().last().map(|last| &last.error);
        match last {
            Some(sd_core::AttemptError::NoEndpoints(none)) if none.is_pending() => {
                let known = self.wait_while(NoEndpoints::is_pending);
                timeout_at(until, known).await.is_ok()
            }
            _ => false,
        }
    }

    /// The policy of the method, else of the longest beginning that has one.
    fn route(&self, method: &str) -> &Route<T, P> {
        let mut name = method;
        while !self.routes.is_empty() {
            if let Some(route) = self.routes.get(name) {
                return route;
            }
            let Some(end) = name.trim_end_matches('/').rfind('/') else {
                break;
            };
            name = &name[..=end];
        }
        &self.default
    }

    /// Begins a call, whose time begins to pass. Its policy is that of the request's extensions, or
    /// else of its route.
    pub(crate) fn begin<B, R>(&self, request: Request<B>) -> BegunCall<T, P, R>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let begun = Instant::now();
        let (mut head, body) = request.into_parts();
        let own = head.extensions.remove::<CallPolicy<P::Code>>();
        let own =
            own.map(|policy| Box::new(Route::new(policy, self.balancer.clone(), &self.budget)));
        let timeout = P::take_timeout(&mut head);
        let policy = &self.route_of(own.as_deref(), &head).policy;
        let after = timeout.or(policy.timeout);
        BegunCall {
            is_idempotent: policy.idempotent || P::is_idempotent(&head),
            body: RecordedBody::new(body, policy.replay_limit),
            deadline: after.and_then(|after| Some((begun.checked_add(after)?, after))),
            own,
            head,
            executed: AtomicU32::new(0),
            refused: Mutex::new(None),
        }
    }

    fn route_of<'a>(
        &'a self,
        own: Option<&'a Route<T, P>>,
        head: &request::Parts,
    ) -> &'a Route<T, P> {
        own.unwrap_or_else(|| self.route(P::method(head)))
    }

    /// Makes a call that was begun, once. By reference, so that there is one copy of it in the
    /// futures of its callers: what they hold is allocated for each call.
    ///
    /// Dropping the future ends the attempt under way; the response ends with its body.
    pub(crate) async fn answer<R>(
        &self,
        begun: &BegunCall<T, P, R>,
    ) -> Result<Response<ResponseBody<R, P>>, P::Error>
    where
        T: Service<Request<RequestBody>, Response = Response<R>> + Clone,
        T::Error: Into<BoxError>,
        T::Future: Send,
        R: Body<Data = Bytes> + Send,
    {
        if begun.deadline.is_some_and(|(_, after)| after.is_zero()) {
            return Err(P::timed_out(Duration::ZERO));
        }
        let route = self.route_of(begun.own.as_deref(), &begun.head);
        let call = Call {
            protocol: &self.protocol,
            classifier: self.classifier.as_ref(),
            policy: &route.policy,
            begun,
        };
        let routing = begun.head.extensions.get::<Routing>();
        let context = routing.map(Routing::context).unwrap_or_default();
        let mut number = 0;
        let mut attempt = |pick: Arc<Pick<T>>| {
            number += 1;
            // Boxed, since it is large, and handed on several times before it runs.
            Box::pin(call.attempt(number, pick))
        };
        let at = begun.deadline.map(|(at, _)| at);
        let mut answered = route.call(&context, at, &mut attempt).await;
        if let Err(error) = &answered
            && Box::pin(self.has_to_know(error, at)).await
        {
            answered = route.call(&context, at, &mut attempt).await;
        }
        answered.or_else(|error| {
            let was_answered = |last: &Attempt<AttemptError>| match &last.error {
                sd_core::AttemptError::Failed(error) => error.is_answer(),
                _ => false,
            };
            let refused = begun.refused().take();
            match refused {
                Some(refused) if error.attempts().last().is_some_and(was_answered) => Ok(refused),
                _ => Err(P::call_error(error, begun.is_late())),
            }
        })
    }
}
