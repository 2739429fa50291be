//! The body of a request that may be sent several times.

mod lookahead;
mod recording;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use recording::{RecordingState, SentFrame, SharedRecording, cancelled};
use sd_core::BoxError;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Records the body of a request while it is sent, so that a further attempt can send it from the
/// start. Bodies cannot be cloned.
///
/// The frames are shared, not copied. Once more than a limit of bytes were sent, nothing is kept,
/// and there can be no further attempt ([gRPC A6]).
///
/// [gRPC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#when-retries-are-valid
pub(crate) struct RecordedBody(SharedRecording);

/// The body of a request failed or panicked, which is the caller's fault.
#[derive(Debug, thiserror::Error)]
#[error("the body of the request has failed")]
pub(crate) struct RequestBodyError(#[source] BoxError);

impl RequestBodyError {
    pub(crate) fn new(cause: BoxError) -> Self {
        Self(cause)
    }
}

impl RecordedBody {
    /// Records up to `limit` bytes of `body`.
    pub(crate) fn new<B>(body: B, limit: usize) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(SharedRecording::new(body, limit))
    }

    /// The body for the next attempt, from the start, and what ends it. Ends those of earlier
    /// attempts. `attempt` is the number of the attempt, at least 1.
    pub(crate) fn replay(&self, attempt: u32) -> (RequestBody, SentRequest) {
        self.0.hand_to(attempt);
        let body = RequestBody {
            recording: self.0.clone(),
            attempt,
            next: 0,
        };
        let sent = SentRequest {
            recording: self.0.clone(),
            attempt,
        };
        (body, sent)
    }

    /// Whether a further attempt can send all of the body.
    pub(crate) fn can_replay(&self) -> bool {
        self.0.lock().state == RecordingState::Complete
    }

    /// Why the caller's body has failed, if it has. Says so once.
    pub(crate) fn take_failure(&self) -> Option<RequestBodyError> {
        self.0.take_failure()
    }

    /// Waits until the request has been complete for the time of `limit`, and at least for that
    /// time. With `or_stalled`, also until no more of it was taken for that time, though the caller
    /// has given all that it was asked for.
    pub(crate) async fn complete_for(&self, limit: Duration, or_stalled: bool) {
        let mut wake_at = Instant::now() + limit;
        loop {
            sleep_until(wake_at).await;
            let now = Instant::now();
            let since = self.0.lock().waits_since(or_stalled);
            wake_at = since.unwrap_or(now) + limit;
            if wake_at <= now {
                return;
            }
        }
    }
}

/// A request of an attempt. When it is dropped, nobody wants an answer any longer: if the body is
/// still being sent, its stream is reset.
pub(crate) struct SentRequest {
    recording: SharedRecording,
    attempt: u32,
}

impl SentRequest {
    /// Why the body failed, if it has. Says so once.
    pub(crate) fn take_failure(&self) -> Option<RequestBodyError> {
        self.recording.take_failure()
    }
}

impl Drop for SentRequest {
    fn drop(&mut self) {
        self.recording.end(self.attempt);
    }
}

/// The body of one attempt of a call: what the endpoints of a call get as the body of the request.
///
/// It gives what earlier attempts have sent, then what the caller still sends.
pub struct RequestBody {
    recording: SharedRecording,
    attempt: u32,
    /// How many of the recorded frames it has given.
    next: usize,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut recording = this.recording.lock();
        if recording.attempt != this.attempt {
            return Poll::Ready(Some(Err(cancelled())));
        }
        let frame = match recording.frames.get(this.next) {
            Some(frame) => frame.clone(),
            None if recording.state == RecordingState::Failed => {
                return Poll::Ready(Some(Err(cancelled())));
            }
            None if recording.has_ended => return Poll::Ready(None),
            None => {
                let before = recording.set_waker(cx.waker());
                let body = recording.body.take();
                drop(recording);
                drop(before);
                let Some(body) = body else {
                    // An earlier attempt polls it, and wakes this one.
                    return Poll::Pending;
                };
                match this.recording.poll_body(body, this.attempt, cx) {
                    Poll::Ready(Some(Ok(frame))) => frame,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        this.next += 1;
        Poll::Ready(Some(Ok(match frame {
            SentFrame::Data(data) => Frame::data(data),
            SentFrame::Trailers(trailers) => Frame::trailers(trailers),
        })))
    }

    fn is_end_stream(&self) -> bool {
        let recording = self.recording.lock();
        recording.attempt == self.attempt
            && recording.state != RecordingState::Failed
            && recording.has_ended
            && self.next >= recording.frames.len()
    }

    fn size_hint(&self) -> SizeHint {
        let recording = self.recording.lock();
        let replayed = recording.frames.iter().skip(self.next);
        let replayed: usize = replayed
            .map(|frame| match frame {
                SentFrame::Data(data) => data.len(),
                SentFrame::Trailers(_) => 0,
            })
            .sum();
        let replayed = replayed as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(recording.rest.lower().saturating_add(replayed));
        if let Some(upper) = recording.rest.upper() {
            hint.set_upper(upper.saturating_add(replayed));
        }
        hint
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
