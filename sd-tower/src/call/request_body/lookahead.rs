//! The caller's body, one frame ahead.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use sd_core::BoxError;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A body that knows with its first frame whether that is the last, if the caller's can tell.
///
/// Most requests are one message, and tonic's bodies say that they have ended only when they are
/// polled again. Known with the message, the end goes with it, rather than as a frame of its own that
/// each side has to look at.
pub(super) struct Lookahead {
    body: UnsyncBoxBody<Bytes, BoxError>,
    /// The frame after the first one, if it has come with it.
    second: Option<Result<Frame<Bytes>, BoxError>>,
    is_begun: bool,
    has_ended: bool,
}

impl Lookahead {
    pub(super) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            has_ended: body.is_end_stream(),
            body: UnsyncBoxBody::new(body.map_err(Into::into)),
            second: None,
            is_begun: false,
        }
    }
}

impl Body for Lookahead {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if let Some(second) = self.second.take() {
            return Poll::Ready(Some(second));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let is_data = matches!(&frame, Some(Ok(frame)) if frame.is_data());
        if is_data && !self.is_begun && !self.body.is_end_stream() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => self.has_ended = true,
                Poll::Ready(second) => self.second = second,
                // Asked again when the first frame was sent.
                Poll::Pending => {}
            }
        }
        self.is_begun = true;
        self.has_ended |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.second.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_ended {
            return SizeHint::with_exact(0);
        }
        let mut hint = self.body.size_hint();
        let second = match &self.second {
            Some(Ok(second)) => second.data_ref().map_or(0, Bytes::len) as u64,
            Some(Err(_)) | None => 0,
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(second));
        }
        hint.set_lower(hint.lower().saturating_add(second));
        hint
    }
}
