//! Connection: one HTTP/2 connection to an endpoint, opened again whenever it ends.

mod driver;
mod first_frame;
mod gathered_writes;
mod keep_alive;
mod options;
mod reconnects;
mod task;

pub use options::Http2Options;

use super::{
    connect_error::{ConnectError, ConnectErrorKind},
    dialer::Dialer,
    options::ConnectOptions,
};
use futures::future::BoxFuture;
use http::{
    Request, Response, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use sd_core::{BoxError, Connectable, Connectivity};
use std::{
    fmt,
    future::ready,
    sync::Arc,
    task::{Context, Poll},
};
use task::ConnectionTask;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tower::Service;

/// The HTTP/2 connection to one endpoint, as a service. The target of endpoints for gRPC.
///
/// It connects when it is made, and again as soon as the connection has ended: after a failure with
/// growing [pauses](ConnectOptions::backoff). No call is needed for either, and none is spent on
/// trying. What it knows of its connection is its [`Connectivity`]:
///
/// | state | a call |
/// |---|---|
/// | ready: the server has answered over HTTP/2 | is sent at once |
/// | connecting, for the first time or after a connection has ended | waits for the outcome, no longer than [`ConnectOptions::timeout`] |
/// | failing | fails at once, with the [`ConnectError`] that all share |
///
/// A connection that the server is closing (GOAWAY) takes no more calls. Streams on it go on, and
/// calls that were not sent go to the next connection. The end of a connection is noticed at once
/// if the host says so. If it is silent: while calls are under way, by
/// [pings](Http2Options::keep_alive_interval); else by
/// [TCP keep-alive](ConnectOptions::tcp_keep_alive).
///
/// # Requests
/// The scheme and authority of a request are filled in where they are missing, as they are with
/// clients that tonic generated: from TLS, and [`Http2Options::authority`] or the address. The
/// connection is always ready ([`poll_ready`](Service::poll_ready)). Over the server's limit of
/// concurrent streams, calls wait for a stream.
///
/// # Errors
/// - [`ConnectError`]: nothing was sent.
/// - [`hyper::Error`] with a GOAWAY of the server as its source (`h2::Error::is_go_away` and
///   `is_remote`): the server has not served the call.
/// - Any other [`hyper::Error`]: the server may have got the call. That goes for the one call that
///   waits for a stream as the next, if the server closes the connection at its limit of streams.
///
/// # How long it lives
/// Clones share the connection. Each call holds one until the response's headers. With the last, the
/// task that connects is stopped, and the connection closed as soon as the last response body has
/// ended or was dropped: until then it is driven by a task of hyper's, which ends with the last
/// stream. A server that is silent meanwhile is noticed by TCP keep-alive, and by whoever waits for
/// the body.
pub struct Connection<B> {
    shared: Arc<Shared<B>>,
}

/// What the clones share, and calls that have no response yet.
struct Shared<B> {
    slot: watch::Receiver<Slot<B>>,
    connectivity: watch::Receiver<Connectivity>,
    address: Box<str>,
    scheme: Scheme,
    authority: Authority,
    _task: AbortOnDropHandle<()>,
}

/// What becomes of a call now.
enum Slot<B> {
    /// It waits.
    Connecting,
    /// It is sent here, on the connection of this number.
    Ready(u64, SendRequest<B>),
    Failing(ConnectError),
}

impl<B> Connection<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// Connects to `address`, which is `host:port`, in the background.
    ///
    /// # Errors
    /// If the address is none, or cannot be the name of a server with TLS.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(
        address: &str,
        connect: ConnectOptions,
        http2: Http2Options,
    ) -> Result<Self, ConnectError> {
        let dialer = Dialer::new(address, connect)?;
        let (slot_sender, slot) = watch::channel(Slot::Connecting);
        let (connectivity_sender, connectivity) = watch::channel(Connectivity::Connecting);
        let encryption = dialer.h2()?;
        let scheme = match encryption {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        let authority = http2.authority.clone();
        Ok(Self {
            shared: Arc::new(Shared {
                slot,
                connectivity,
                address: address.into(),
                scheme,
                authority: authority.unwrap_or_else(|| dialer.address().authority().clone()),
                _task: AbortOnDropHandle::new(tokio::spawn(
                    ConnectionTask::new(
                        dialer,
                        encryption,
                        http2,
                        slot_sender,
                        connectivity_sender,
                    )
                    .run(),
                )),
            }),
        })
    }

    /// Sends a request, not on connection `closing`. Waits while there is no other one.
    async fn send(
        self,
        mut request: Request<B>,
        mut closing: Option<u64>,
    ) -> Result<Response<Incoming>, BoxError> {
        loop {
            let (number, mut sender) = self.sender(closing).await?;
            let sent = sender.try_send_request(request);
            // Not held while it waits: a request that is queued while the queue is closed is given
            // back when the last sender is dropped, no sooner (tokio 1.54).
            drop(sender);
            let mut failed = match sent.await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match failed.take_message() {
                // The connection was closing, and nothing was sent.
                Some(unsent) => request = unsent,
                None => return Err(failed.into_error().into()),
            }
            closing = Some(number);
        }
    }

    /// Returns where to send a call: not on connection `closing`. Waits while there is none.
    async fn sender(&self, closing: Option<u64>) -> Result<(u64, SendRequest<B>), ConnectError> {
        if let Some(found) = self.shared.slot.borrow().get(closing) {
            return found;
        }
        let mut slot = self.shared.slot.clone();
        let found = slot.wait_for(|slot| slot.get(closing).is_some()).await;
        match found.ok().and_then(|slot| slot.get(closing)) {
            Some(found) => found,
            None => Err(self.closed()),
        }
    }

    /// Fills in the scheme and the authority.
    fn complete(&self, uri: &mut Uri) -> Result<(), BoxError> {
        if uri.scheme().is_some() && uri.authority().is_some() {
            return Ok(());
        }
        let mut parts = std::mem::take(uri).into_parts();
        parts
            .scheme
            .get_or_insert_with(|| self.shared.scheme.clone());
        parts
            .authority
            .get_or_insert_with(|| self.shared.authority.clone());
        parts
            .path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        *uri = Uri::from_parts(parts)?;
        Ok(())
    }

    fn closed(&self) -> ConnectError {
        ConnectError::new(&self.shared.address, ConnectErrorKind::Closed, None)
    }
}

impl<B> Connection<B> {
    /// The address, as it was given.
    pub fn address(&self) -> &str {
        &self.shared.address
    }
}

impl<B> Slot<B> {
    /// `None`: wait for a change.
    fn get(&self, closing: Option<u64>) -> Option<Result<(u64, SendRequest<B>), ConnectError>> {
        match self {
            Self::Connecting => None,
            Self::Ready(number, _) if Some(*number) == closing => None,
            Self::Ready(number, sender) => Some(Ok((*number, sender.clone()))),
            Self::Failing(error) => Some(Err(error.clone())),
        }
    }
}

impl<B> Service<Request<B>> for Connection<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    /// Always ready: whether a call can be sent is known when it is made.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Err(error) = self.complete(request.uri_mut()) {
            return Box::pin(ready(Err(error)));
        }
        let connection = self.clone();
        let (number, mut sender) = match self.shared.slot.borrow().get(None) {
            Some(Ok(found)) => found,
            Some(Err(error)) => return Box::pin(ready(Err(error.into()))),
            None => return Box::pin(connection.send(request, None)),
        };
        // Sent here, so that the future need not hold the request.
        let sent = sender.try_send_request(request);
        drop(sender);
        Box::pin(async move {
            let mut failed = match sent.await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match failed.take_message() {
                Some(unsent) => Box::pin(connection.send(unsent, Some(number))).await,
                None => Err(failed.into_error().into()),
            }
        })
    }
}

impl<B> Connectable for Connection<B> {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        self.shared.connectivity.clone()
    }
}

impl<B> Clone for Connection<B> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<B> fmt::Debug for Connection<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.shared.address)
            .field("connectivity", &*self.shared.connectivity.borrow())
            .finish_non_exhaustive()
    }
}
