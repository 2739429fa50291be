//! The body of a request that may be sent several times.

use bytes::Bytes;
use futures::task::noop_waker;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use sd_core::BoxError;
use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
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
pub(crate) struct RecordedBody(Arc<Mutex<Recording>>);

struct Recording {
    /// `None` while it is polled, since no lock is held meanwhile: the body may end the call.
    body: Option<CallerBody>,
    /// Empty when they are too many.
    frames: Vec<SentFrame>,
    recorded_bytes: usize,
    limit: usize,
    state: RecordingState,
    /// When the caller has given what was sent last: a frame, or the end.
    sent_at: Instant,
    /// Whether the caller was asked for the next frame, and has not given it yet.
    waits_for_caller: bool,
    has_ended: bool,
    /// The attempt that may read. 0 if none may any longer.
    attempt: u32,
    /// Of the attempt that waits for the next frame.
    waker: Waker,
}

type CallerBody = UnsyncBoxBody<Bytes, BoxError>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum RecordingState {
    /// All frames so far are recorded.
    Complete,
    /// More than the limit were sent.
    Exceeded,
    /// The body itself failed: the caller's fault.
    Failed,
}

#[derive(Clone)]
enum SentFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl RecordedBody {
    /// Records up to `limit` bytes of `body`.
    pub(crate) fn new<B>(body: B, limit: usize) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(Mutex::new(Recording {
            body: Some(UnsyncBoxBody::new(body.map_err(Into::into))),
            frames: Vec::new(),
            recorded_bytes: 0,
            limit,
            state: RecordingState::Complete,
            sent_at: Instant::now(),
            waits_for_caller: false,
            has_ended: false,
            attempt: 0,
            waker: noop_waker(),
        })))
    }

    /// The body for the next attempt, from the start, and what ends it. Ends those of earlier
    /// attempts. `attempt` is the number of the attempt, at least 1.
    pub(crate) fn replay(&self, attempt: u32) -> (RequestBody, SentRequest) {
        hand_to(lock(&self.0), attempt);
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
        lock(&self.0).state == RecordingState::Complete
    }

    /// Whether the caller's body has failed.
    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.0).state == RecordingState::Failed
    }

    /// Waits until the request has been complete for the time of `limit`, or nearly twice that. With
    /// `or_stalled`, also until no more of it was taken for that time, though the caller has given
    /// all that it was asked for.
    pub(crate) async fn complete_for(&self, limit: Duration, or_stalled: bool) {
        let mut wake_at = Instant::now() + limit;
        loop {
            sleep_until(wake_at).await;
            let now = Instant::now();
            wake_at = lock(&self.0).waits_since(or_stalled).unwrap_or(now) + limit;
            if wake_at <= now {
                return;
            }
        }
    }
}

/// A request of an attempt. When it is dropped, nobody wants an answer any longer: if the body is
/// still being sent, its stream is reset.
pub(crate) struct SentRequest {
    recording: Arc<Mutex<Recording>>,
    attempt: u32,
}

impl Drop for SentRequest {
    fn drop(&mut self) {
        let recording = lock(&self.recording);
        if recording.attempt == self.attempt {
            hand_to(recording, 0);
        }
    }
}

fn hand_to(mut recording: MutexGuard<'_, Recording>, attempt: u32) {
    recording.attempt = attempt;
    let waiting = recording.take_waker();
    drop(recording);
    waiting.wake();
}

fn lock(recording: &Mutex<Recording>) -> MutexGuard<'_, Recording> {
    // Nothing panics under the lock.
    recording.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recording {
    fn take_waker(&mut self) -> Waker {
        std::mem::replace(&mut self.waker, noop_waker())
    }

    /// Since when it is the server's turn to answer or, with `or_stalled`, to take more of the
    /// request. `None` if it is not.
    fn waits_since(&self, or_stalled: bool) -> Option<Instant> {
        let has_ended = self.has_ended || self.body.as_ref().is_some_and(Body::is_end_stream);
        let is_stalled = or_stalled && !self.waits_for_caller;
        (has_ended || is_stalled).then_some(self.sent_at)
    }

    /// Whether the body has panicked.
    fn is_lost(&self) -> bool {
        self.body.is_none() && self.state == RecordingState::Failed
    }

    fn record(&mut self, frame: SentFrame) {
        if self.state != RecordingState::Complete {
            return;
        }
        if let SentFrame::Data(data) = &frame {
            self.recorded_bytes += data.len();
        }
        if self.recorded_bytes > self.limit {
            self.state = RecordingState::Exceeded;
            self.frames = Vec::new();
        } else {
            self.frames.push(frame);
        }
    }
}

/// Polls the caller's body for its next frame, without the lock.
struct BodyPoll<'a> {
    recording: &'a Mutex<Recording>,
    body: Option<CallerBody>,
}

impl BodyPoll<'_> {
    fn poll(
        mut self,
        attempt: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<SentFrame, BoxError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx).map_ok(sent);
        let mut recording = lock(self.recording);
        recording.body = self.body.take();
        recording.waits_for_caller = polled.is_pending();
        if polled.is_ready() {
            recording.sent_at = Instant::now();
        }
        match &polled {
            Poll::Ready(Some(Ok(Some(frame)))) => recording.record(frame.clone()),
            Poll::Ready(Some(Ok(None) | Err(_))) => recording.state = RecordingState::Failed,
            Poll::Ready(None) => recording.has_ended = true,
            Poll::Pending => {}
        }
        if recording.attempt != attempt {
            // Another attempt began meanwhile, and waits for the body.
            let waiting = recording.take_waker();
            drop(recording);
            waiting.wake();
            return Poll::Ready(Some(Err(cancelled())));
        }
        polled.map(|frame| {
            frame.map(|frame| frame?.ok_or_else(|| "the body has frames of an unknown kind".into()))
        })
    }
}

/// A body that panicked is not polled again.
impl Drop for BodyPoll<'_> {
    fn drop(&mut self) {
        if self.body.is_some() {
            let mut recording = lock(self.recording);
            recording.state = RecordingState::Failed;
            let waiting = recording.take_waker();
            drop(recording);
            waiting.wake();
        }
    }
}

fn sent(frame: Frame<Bytes>) -> Option<SentFrame> {
    match frame.into_data() {
        Ok(data) => Some(SentFrame::Data(data)),
        Err(other) => other.into_trailers().ok().map(SentFrame::Trailers),
    }
}

/// hyper resets the stream with this reason.
fn cancelled() -> BoxError {
    h2::Error::from(h2::Reason::CANCEL).into()
}

/// The body of one attempt of a call: what the endpoints of a call get as the body of the request.
///
/// It gives what earlier attempts have sent, then what the caller still sends.
pub struct RequestBody {
    recording: Arc<Mutex<Recording>>,
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
        let mut recording = lock(&this.recording);
        if recording.attempt != this.attempt {
            return Poll::Ready(Some(Err(cancelled())));
        }
        let frame = match recording.frames.get(this.next) {
            Some(frame) => frame.clone(),
            None if recording.is_lost() => return Poll::Ready(Some(Err(cancelled()))),
            None => {
                recording.waker.clone_from(cx.waker());
                let Some(body) = recording.body.take() else {
                    // An earlier attempt polls it, and wakes this one.
                    return Poll::Pending;
                };
                drop(recording);
                let body = BodyPoll {
                    recording: &this.recording,
                    body: Some(body),
                };
                match body.poll(this.attempt, cx) {
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
        let recording = lock(&self.recording);
        recording.attempt == self.attempt
            && self.next >= recording.frames.len()
            && (recording.body.as_ref()).is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let recording = lock(&self.recording);
        let replayed = recording.frames.iter().skip(self.next);
        let replayed: usize = replayed
            .map(|frame| match frame {
                SentFrame::Data(data) => data.len(),
                SentFrame::Trailers(_) => 0,
            })
            .sum();
        let rest = (recording.body.as_ref()).map_or_else(SizeHint::default, Body::size_hint);
        let replayed = replayed as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + replayed);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + replayed);
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
