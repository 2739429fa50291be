//! What was read of a request's body so far.

use super::{RequestBodyError, lookahead::Lookahead};
use bytes::Bytes;
use futures::task::noop_waker;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use sd_core::BoxError;
use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;

/// A recording as the attempts of a call share it.
#[derive(Clone)]
pub(super) struct SharedRecording(Arc<Mutex<Recording>>);

/// What was read of the caller's body so far, and the rest of it.
pub(super) struct Recording {
    /// `None` while it is polled, since no lock is held meanwhile: the body may end the call. Also
    /// after it has failed.
    pub(super) body: Option<Lookahead>,
    /// What it said of the rest when it was last polled.
    pub(super) rest: SizeHint,
    /// Whether all of it was read.
    pub(super) has_ended: bool,
    /// When the caller has given what was read last: a frame, or the end.
    given_at: Instant,
    /// Whether the caller was asked for the next frame, and has not given it yet.
    waits_for_caller: bool,
    /// Empty when they are too many.
    pub(super) frames: Vec<SentFrame>,
    recorded_bytes: usize,
    limit: usize,
    pub(super) state: RecordingState,
    /// Why the body failed, until the call is told.
    failure: Option<BoxError>,
    /// The attempt that may read. 0 if none may any longer.
    pub(super) attempt: u32,
    /// Of the attempt that waits for the next frame.
    waker: Waker,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordingState {
    /// All frames so far are recorded.
    Complete,
    /// More than the limit were sent.
    Exceeded,
    /// The body itself failed.
    Failed,
}

#[derive(Clone)]
pub(super) enum SentFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl SharedRecording {
    pub(super) fn new<B>(body: B, limit: usize) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(Mutex::new(Recording {
            rest: body.size_hint(),
            has_ended: body.is_end_stream(),
            given_at: Instant::now(),
            waits_for_caller: false,
            body: Some(Lookahead::new(body)),
            frames: Vec::new(),
            recorded_bytes: 0,
            limit,
            state: RecordingState::Complete,
            failure: None,
            attempt: 0,
            waker: noop_waker(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Recording> {
        // Nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `attempt` may read, and others may no longer.
    pub(super) fn hand_to(&self, attempt: u32) {
        hand_over(self.lock(), attempt);
    }

    /// From now on `attempt` may read no longer.
    pub(super) fn end(&self, attempt: u32) {
        let recording = self.lock();
        if recording.attempt == attempt {
            hand_over(recording, 0);
        }
    }

    /// Why the body has failed, if it has. Says so once.
    pub(super) fn take_failure(&self) -> Option<RequestBodyError> {
        self.lock().failure.take().map(RequestBodyError::new)
    }

    /// Polls the caller's body for its next frame, without the lock. `attempt` has read all frames
    /// before it.
    pub(super) fn poll_body(
        &self,
        mut body: Lookahead,
        attempt: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<SentFrame, BoxError>>> {
        // Foreign code, which must not end the task of the connection.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let polled = Pin::new(&mut body).poll_frame(cx);
            (polled, body.size_hint(), body.is_end_stream())
        }));
        let (polled, rest, mut has_ended) = polled.unwrap_or_else(|panic| {
            let failed = Poll::Ready(Some(Err(panicked(&*panic))));
            (failed, SizeHint::default(), false)
        });
        let polled = polled.map(|frame| frame.map(|frame| frame.and_then(SentFrame::of)));
        has_ended |= matches!(polled, Poll::Ready(None | Some(Ok(SentFrame::Trailers(_)))));

        let mut recording = self.lock();
        let is_current = recording.attempt == attempt;
        recording.rest = rest;
        recording.has_ended = has_ended;
        recording.waits_for_caller = polled.is_pending();
        if polled.is_ready() {
            recording.given_at = Instant::now();
        }
        let mut failed_body = None;
        let polled = match polled {
            Poll::Ready(Some(Err(error))) => {
                recording.state = RecordingState::Failed;
                recording.failure = Some(error);
                failed_body = Some(body);
                Poll::Ready(Some(Err(cancelled())))
            }
            polled => {
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    recording.record(frame.clone(), is_current);
                }
                recording.body = Some(body);
                polled
            }
        };
        // Another attempt may have begun meanwhile, and wait for the body.
        let waiting = (!is_current).then(|| recording.take_waker());
        drop(recording);
        drop(failed_body);
        match waiting {
            None => polled,
            Some(waiting) => {
                waiting.wake();
                Poll::Ready(Some(Err(cancelled())))
            }
        }
    }
}

fn hand_over(mut recording: MutexGuard<'_, Recording>, attempt: u32) {
    recording.attempt = attempt;
    let waiting = recording.take_waker();
    drop(recording);
    waiting.wake();
}

impl Recording {
    fn take_waker(&mut self) -> Waker {
        mem::replace(&mut self.waker, noop_waker())
    }

    /// Since when it is the server's turn to answer or, with `or_stalled`, to take more of the
    /// request. `None` if it is not.
    pub(super) fn waits_since(&self, or_stalled: bool) -> Option<Instant> {
        let is_stalled = or_stalled && !self.waits_for_caller;
        (self.has_ended || is_stalled).then_some(self.given_at)
    }

    /// Has this one woken. Returns the one before, to be dropped without the lock.
    pub(super) fn set_waker(&mut self, waker: &Waker) -> Option<Waker> {
        let is_same = self.waker.will_wake(waker);
        (!is_same).then(|| mem::replace(&mut self.waker, waker.clone()))
    }

    /// Records a frame. If it was read for the current attempt, that has read all before it.
    fn record(&mut self, frame: SentFrame, is_of_current: bool) {
        if let SentFrame::Data(data) = &frame {
            self.recorded_bytes += data.len();
        }
        if self.recorded_bytes > self.limit {
            self.state = RecordingState::Exceeded;
        }
        if self.state == RecordingState::Exceeded && is_of_current {
            self.frames = Vec::new();
        } else {
            // Even if it is too much: the current attempt has not read it.
            self.frames.push(frame);
        }
    }
}

impl SentFrame {
    fn of(frame: Frame<Bytes>) -> Result<Self, BoxError> {
        frame.into_data().map(Self::Data).or_else(|other| {
            let trailers = other.into_trailers().map(Self::Trailers);
            trailers.map_err(|_| "it has frames of an unknown kind".into())
        })
    }
}

fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", message.unwrap_or("no message")).into()
}

/// hyper resets the stream with this reason.
pub(super) fn cancelled() -> BoxError {
    h2::Error::from(h2::Reason::CANCEL).into()
}
