//! The body of a response, which ends the call.

use super::{classifier::OfEnd, protocol::Protocol, request_body::SentRequest};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sd_core::{BoxError, Outcome, Pick};
use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

pin_project! {
    /// The body of a response. The call lasts until it has ended or was dropped.
    #[project = Projection]
    pub(crate) struct ResponseBody<B, P> {
        #[pin]
        body: Option<B>,
        call: Option<OpenCall>,
        deadline: Option<Deadline>,
        protocol: PhantomData<fn() -> P>,
    }
}

/// A call whose response has begun. Dropped before its end, the call was cancelled.
pub(super) struct OpenCall {
    pub(super) pick: Arc<dyn EndedPick>,
    /// What the head of the response says about the endpoint, if the end does not tell that.
    pub(super) outcome: Option<Outcome>,
    /// What the caller says about the end.
    pub(super) of_end: Option<OfEnd>,
    /// After the end, nothing more of it is sent.
    pub(super) request: SentRequest,
}

impl OpenCall {
    /// What these trailers say about the endpoint.
    fn judge<P: Protocol>(&self, trailers: &HeaderMap) -> Outcome {
        let classified = self.of_end.as_ref().and_then(|of_end| of_end(trailers));
        classified.unwrap_or_else(|| P::judge_end(Some(trailers)))
    }

    /// Ends the call. `outcome`: what its end says, if the head of the response did not tell.
    pub(super) fn end(self, outcome: Outcome) {
        self.pick.report(self.outcome.unwrap_or(outcome));
    }
}

/// A [`Pick`] of any target.
pub(super) trait EndedPick: Send + Sync {
    fn report(&self, outcome: Outcome);
}

impl<T: Send + Sync> EndedPick for Pick<T> {
    fn report(&self, outcome: Outcome) {
        Pick::report(self, outcome);
    }
}

/// When the body must have ended.
struct Deadline {
    sleep: Pin<Box<Sleep>>,
    /// How long the whole call was given.
    after: Duration,
}

impl<B: Body, P: Protocol> ResponseBody<B, P> {
    /// The body of a call, `None` if it has ended with its head. It must end by the deadline, which
    /// is said to be so long after the call began.
    pub(super) fn new(
        body: B,
        call: Option<OpenCall>,
        deadline: Option<(Instant, Duration)>,
    ) -> Self {
        let deadline = deadline.filter(|_| call.is_some());
        Self {
            deadline: deadline.map(|(at, after)| Deadline {
                sleep: Box::pin(sleep_until(at)),
                after,
            }),
            body: Some(body),
            call,
            protocol: PhantomData,
        }
    }
}

/// Whether an answer at this time may be one to the deadline that the server was told. Its clock
/// may be a little fast.
pub(super) fn is_late(deadline: Instant) -> bool {
    Instant::now() + Duration::from_millis(5) >= deadline
}

impl Deadline {
    fn is_over(&self) -> bool {
        Instant::now() >= self.sleep.deadline()
    }
}

impl<B, P: Protocol> Projection<'_, B, P> {
    /// Ends the call, and resets its stream.
    fn time_out(&mut self) -> P::Error {
        let after = self.deadline.as_ref().map(|deadline| deadline.after);
        end(self.call, Outcome::TimedOut);
        self.body.set(None);
        P::timed_out(after.unwrap_or_default())
    }
}

/// Ends the call.
fn end(call: &mut Option<OpenCall>, outcome: Outcome) {
    if let Some(call) = call.take() {
        call.end(outcome);
    }
}

impl<B, P> Body for ResponseBody<B, P>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    P: Protocol,
{
    type Data = Bytes;
    type Error = P::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, P::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(polled) = body.poll_frame(cx) else {
            let Some(deadline) = this.deadline else {
                return Poll::Pending;
            };
            ready!(deadline.sleep.as_mut().poll(cx));
            return Poll::Ready(Some(Err(this.time_out())));
        };
        let frame = match polled {
            None => {
                end(this.call, P::judge_end(None));
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                let request = this.call.as_ref().map(|call| &call.request);
                let (outcome, error) = match request.and_then(SentRequest::take_failure) {
                    Some(failure) => (Outcome::Cancelled, P::body_error(failure.into()).1),
                    None => P::body_error(error.into()),
                };
                end(this.call, outcome);
                this.body.set(None);
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        let frame = match frame.into_trailers() {
            Ok(mut trailers) => {
                let is_late = (this.deadline.as_ref())
                    .is_some_and(|deadline| is_late(deadline.sleep.deadline()));
                P::repair(&mut trailers, is_late);
                if let Some(call) = this.call.take() {
                    let outcome = call.judge::<P>(&trailers);
                    call.end(outcome);
                }
                Frame::trailers(trailers)
            }
            // A server that sends faster than the caller reads never lets it wait.
            Err(_) if this.deadline.as_ref().is_some_and(Deadline::is_over) => {
                return Poll::Ready(Some(Err(this.time_out())));
            }
            Err(frame) => frame,
        };
        // Many callers do not ask for the end of what has ended.
        if this
            .body
            .as_pin_mut()
            .is_some_and(|body| body.is_end_stream())
        {
            end(this.call, P::judge_end(None));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// An empty body.
impl<B, P> Default for ResponseBody<B, P> {
    fn default() -> Self {
        Self {
            body: None,
            call: None,
            deadline: None,
            protocol: PhantomData,
        }
    }
}

impl<B, P> fmt::Debug for ResponseBody<B, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("has_ended", &self.call.is_none())
            .finish_non_exhaustive()
    }
}
