//! Accepting connections.

use super::connection::{IncomingConnection, OpenConnections};
use sd_core::ErrorChain;
use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    time::{Sleep, sleep},
};

/// How long accepting pauses when the process has no room for another connection.
const PAUSE: Duration = Duration::from_millis(500);

/// The connections that a [`RegisteredServer`](crate::RegisteredServer) accepts.
///
/// A stream for tonic's `serve_with_incoming_shutdown`, with the feature `tonic-server`, and a `Listener`
/// for `axum::serve`, with the feature `axum`. It never yields an error: a connection that is gone before
/// it is accepted is skipped, and without room for another one (file descriptors), accepting pauses and
/// says so in the log.
pub struct Incoming {
    listener: TcpListener,
    open: OpenConnections,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(listener: TcpListener, open: OpenConnections) -> Self {
        Self {
            listener,
            open,
            pause: None,
        }
    }

    /// The address that the listener listens on.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for the next connection, and gives its peer's address too. Cancellation safe.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(IncomingConnection, SocketAddr)> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, peer)) => {
                    // Without it, small messages wait for the peer's acknowledgement.
                    let _ = stream.set_nodelay(true);
                    return Poll::Ready((self.open.admit(stream), peer));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(error = %ErrorChain(&error), "accepting connections failed, pausing");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }
}

impl futures::Stream for Incoming {
    type Item = io::Result<IncomingConnection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accept(cx)
            .map(|(connection, _)| Some(Ok(connection)))
    }
}

#[cfg(feature = "axum")]
impl axum::serve::Listener for Incoming {
    type Io = IncomingConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (IncomingConnection, SocketAddr) {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Whether accepting failed for one connection, which its peer has given up.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
