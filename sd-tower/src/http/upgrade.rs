//! Upgrades: connections that stop speaking HTTP, as WebSockets do.

use crate::{
    call::UpgradedConnection,
    connection::{ConnectError, Connector},
};
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use http::{Method, Response, StatusCode, Uri, Version};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};
use tower::Service;

/// A connector whose connections tell when they are closed.
///
/// hyper hands an upgraded connection to the caller, past the body of the response. So the call that
/// it belongs to is tied to the connection itself.
#[derive(Debug, Clone)]
pub(super) struct UpgradableConnector(pub(super) Connector);

impl Service<Uri> for UpgradableConnector {
    type Response = UpgradableStream<<Connector as Service<Uri>>::Response>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = self.0.call(uri).map_ok(|stream| UpgradableStream {
            stream,
            call: UpgradedConnection::default(),
        });
        connected.boxed()
    }
}

/// A connection that may be upgraded, and the call that it then belongs to.
pub(super) struct UpgradableStream<S> {
    stream: S,
    call: UpgradedConnection,
}

impl<S> Drop for UpgradableStream<S> {
    fn drop(&mut self) {
        self.call.close();
    }
}

/// hyper-util puts the connection of a response into its extensions. It stays there if the
/// connection was upgraded for `method`. With HTTP/2 the upgraded stream is one of many.
pub(super) fn keep_if_upgraded<B>(response: &mut Response<B>, method: &Method) {
    let is_upgraded = match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => true,
        status => method == Method::CONNECT && status.is_success(),
    };
    if !is_upgraded || response.version() == Version::HTTP_2 {
        response.extensions_mut().remove::<UpgradedConnection>();
    }
}

impl<S: Connection> Connection for UpgradableStream<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.call.clone())
    }
}

impl<S: Read + Unpin> Read for UpgradableStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: Write + Unpin> Write for UpgradableStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
