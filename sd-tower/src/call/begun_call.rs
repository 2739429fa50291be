//! One call, and its attempts.

use super::{
    attempt_error::AttemptError,
    caller::Route,
    classifier::Classifier,
    policy::CallPolicy,
    protocol::{Answer, Protocol, Pushback},
    request_body::{RecordedBody, RequestBody},
    response_body::{OpenCall, ResponseBody, is_late},
    upgraded::UpgradedConnection,
};
use bytes::Bytes;
use http::{Request, Response, request};
use http_body::Body;
use sd_core::{BoxError, Outcome, Pick};
use std::{
    future::{Future, pending, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::Service;

/// A call: what it sends, how long it may take, what its attempts leave behind.
pub(crate) struct BegunCall<T, P: Protocol, R> {
    /// That of its own policy, if it brings one.
    pub(super) own: Option<Box<Route<T, P>>>,
    pub(super) is_idempotent: bool,
    pub(super) head: request::Parts,
    pub(super) body: RecordedBody,
    pub(super) deadline: Option<(Instant, Duration)>,
    /// How many attempts a server may have executed.
    pub(super) executed: AtomicU32,
    /// The last response that is tried again. It is handed on if there is no other one.
    pub(super) refused: Mutex<Option<Response<ResponseBody<R, P>>>>,
}

impl<T, P: Protocol, R> BegunCall<T, P, R> {
    /// The request of an attempt.
    fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::from_parts(self.head.clone(), body);
        let executed = self.executed.load(Ordering::Relaxed);
        P::prepare_attempt(request.headers_mut(), executed, self.time_left());
        request
    }

    /// Not held while a response is dropped.
    pub(super) fn refused(&self) -> MutexGuard<'_, Option<Response<ResponseBody<R, P>>>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much time is left for the whole call. An attempt that is answered in time may use it up,
    /// so that its server is not told the limit of an attempt.
    fn time_left(&self) -> Option<Duration> {
        (self.deadline).map(|(at, _)| at.saturating_duration_since(Instant::now()))
    }

    pub(super) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|(at, _)| is_late(at))
    }
}

/// A call under way.
pub(super) struct Call<'a, T, P: Protocol, R> {
    pub(super) protocol: &'a P,
    pub(super) classifier: Option<&'a Classifier<P::Code>>,
    pub(super) policy: &'a CallPolicy<P::Code>,
    pub(super) begun: &'a BegunCall<T, P, R>,
}

impl<T, P, R> Call<'_, T, P, R>
where
    T: Service<Request<RequestBody>, Response = Response<R>> + Clone + Send + Sync + 'static,
    T::Error: Into<BoxError>,
    P: Protocol,
    R: Body<Data = Bytes> + Send,
{
    pub(super) async fn attempt(
        &self,
        number: u32,
        pick: Arc<Pick<T>>,
    ) -> Result<Response<ResponseBody<R, P>>, AttemptError> {
        let answered = self.send(number, pick).await;
        if answered
            .as_ref()
            .is_err_and(|error| !error.nothing_executed())
        {
            self.begun.executed.fetch_add(1, Ordering::Relaxed);
        }
        answered
    }

    async fn send(
        &self,
        number: u32,
        pick: Arc<Pick<T>>,
    ) -> Result<Response<ResponseBody<R, P>>, AttemptError> {
        let begun = self.begun;
        let (body, sent_request) = begun.body.replay(number);
        let mut target = pick.target().clone();
        let sent = async move {
            poll_fn(|cx| target.poll_ready(cx)).await?;
            // Made and handed on between two awaits, so that no future has to hold it.
            let sent = target.call(begun.request(body));
            drop(target);
            sent.await
        };
        let answered = self.in_time(pin!(sent)).await?;
        let response = answered.map_err(|error| {
            AttemptError::broken(error.into(), &begun.body, begun.is_idempotent)
        })?;

        let (mut head, body) = response.into_parts();
        P::repair(&mut head.headers, begun.is_late());
        let is_complete = body.is_end_stream();
        let upgraded = head.extensions.remove::<UpgradedConnection>();
        let mut answer = self.protocol.judge(&begun.head, &head, is_complete);
        if let (Some(classifier), Some(code)) = (self.classifier, &answer.code) {
            let outcome = (classifier.of_code)(code);
            // A body that breaks off is no success, whatever its head says.
            let is_final = is_complete || outcome != Outcome::Success;
            answer.outcome = is_final.then_some(outcome);
        }
        let refusal = self.refusal(&head, &answer);
        let call = OpenCall {
            pick,
            outcome: answer.outcome,
            of_end: self.classifier.map(|classifier| classifier.of_end.clone()),
            request: sent_request,
        };
        let call = match upgraded {
            Some(connection) => {
                connection.hold(call);
                None
            }
            None if is_complete && refusal.is_none() => {
                call.end(P::judge_end(None));
                None
            }
            None => (!is_complete).then_some(call),
        };
        let body = ResponseBody::new(body, call, begun.deadline);
        let response = Response::from_parts(head, body);
        let Some(refusal) = refusal else {
            return Ok(response);
        };
        let before = begun.refused().replace(response);
        drop(before);
        Err(refusal)
    }

    /// Waits for the head of a response, no longer than one attempt may take. In a call without a
    /// deadline, also no longer than an answer may take.
    async fn in_time<A>(&self, sent: Pin<&mut impl Future<Output = A>>) -> Result<A, AttemptError> {
        let begun = self.begun;
        let answer = (self.policy.answer_timeout).filter(|_| begun.deadline.is_none());
        tokio::select! {
            biased;
            answered = sent => Ok(answered),
            limit = passed(self.policy.per_try_timeout) => Err(self.no_answer(limit)),
            limit = self.unanswered(answer) => Err(self.no_answer(limit)),
        }
    }

    /// Waits until a server has let a request wait for so long. Never ends without a limit.
    async fn unanswered(&self, limit: Option<Duration>) -> Duration {
        let Some(limit) = limit else {
            return pending().await;
        };
        (self.begun.body)
            .complete_for(limit, P::KNOWS_STALLS_BY_TIME)
            .await;
        limit
    }

    fn no_answer(&self, limit: Duration) -> AttemptError {
        let may_retry = self.begun.is_idempotent && self.begun.body.can_replay();
        AttemptError::no_answer(limit, may_retry)
    }

    /// Whether a call without a deadline does not wait so long for another attempt.
    fn is_too_long(&self, pause: Duration) -> bool {
        let longest = self.policy.answer_timeout;
        self.begun.deadline.is_none() && longest.is_some_and(|longest| pause > longest)
    }

    /// Why this answer is tried again, if it is.
    fn refusal(
        &self,
        head: &http::response::Parts,
        answer: &Answer<P::Code>,
    ) -> Option<AttemptError> {
        let code = answer.code.as_ref()?;
        let retry_on = self.policy.retry_on.as_deref().unwrap_or(P::RETRY_ON);
        let is_refused = retry_on.contains(code)
            && P::repeats_answers(self.begun.is_idempotent)
            && self.begun.body.can_replay();
        if !is_refused {
            return None;
        }
        let retry_after = match answer.pushback {
            Pushback::Never => return None,
            Pushback::After(pause) if self.is_too_long(pause) => return None,
            Pushback::After(pause) => Some(pause),
            Pushback::None => None,
        };
        let outcome = answer.outcome.unwrap_or(Outcome::Failure);
        Some(AttemptError::answered(
            (answer.text)(head),
            outcome,
            retry_after,
        ))
    }
}

/// Waits for so long. Never ends without a limit.
async fn passed(limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else {
        return pending().await;
    };
    sleep(limit).await;
    limit
}
