//! The body of a gRPC response, which ends with a status whatever happens.

use axum::body::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use sd_tower::GrpcBody;
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A response that breaks off ends with trailers that say why, instead of a stream that is reset.
pub(crate) struct EndsWithStatus(pub(crate) Option<GrpcBody>);

impl Body for EndsWithStatus {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(status)) => {
                self.0 = None;
                let mut trailers = HeaderMap::new();
                // Fails for no status that a channel makes.
                let _ = status.add_header(&mut trailers);
                Frame::trailers(trailers)
            }
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}
