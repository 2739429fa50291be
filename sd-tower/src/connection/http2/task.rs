//! The task that connects.

use super::{
    Slot,
    first_frame::FirstFrame,
    keep_alive::KeepAlive,
    options::Http2Options,
    reconnects::{Next, Reconnects},
};
use crate::connection::{
    connect_error::{ConnectError, ConnectErrorKind},
    dialer::Dialer,
    stream::Stream,
};
use http_body::Body;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use sd_core::{BoxError, Connectivity, ErrorChain, Escaped};
use std::{sync::Arc, thread};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Connects, publishes where to send calls, and connects again when the connection ends.
pub(super) struct ConnectionTask<B> {
    dialer: Dialer,
    keep_alive: KeepAlive,
    reconnects: Reconnects,
    /// How many connections there were.
    connections: u64,
    slot: watch::Sender<Slot<B>>,
    connectivity: watch::Sender<Connectivity>,
}

/// The half of a connection that takes requests from the queue. hyper has given the other half,
/// which does the I/O, to a task of its own.
type Requests<B> = http2::Connection<TokioIo<FirstFrame<Stream>>, B, TokioExecutor>;

impl<B> ConnectionTask<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(
        dialer: Dialer,
        options: Http2Options,
        slot: watch::Sender<Slot<B>>,
        connectivity: watch::Sender<Connectivity>,
    ) -> Self {
        Self {
            keep_alive: KeepAlive::new(&options),
            reconnects: Reconnects::new(dialer.backoff(), Instant::now()),
            dialer,
            connections: 0,
            slot,
            connectivity,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let (next, error) = match self.connect().await {
                Ok((sender, requests)) => {
                    self.reconnects.connected(Instant::now());
                    self.connections += 1;
                    self.publish(Slot::Ready(self.connections, sender), Connectivity::Ready);
                    let error = self.serve(requests).await;
                    (self.reconnects.ended(error.clone(), Instant::now()), error)
                }
                Err(error) => (self.reconnects.failed(error.clone(), Instant::now()), error),
            };
            match next {
                Next::ConnectNow => self.publish(Slot::Connecting, Connectivity::Connecting),
                Next::ConnectAt(at, state) => {
                    self.publish(Slot::Failing(error), state);
                    sleep_until(at).await;
                }
            }
        }
    }

    async fn connect(&self) -> Result<(SendRequest<B>, Requests<B>), ConnectError> {
        let deadline = self.dialer.deadline();
        let stream = self
            .dialer
            .dial(self.dialer.h2().as_ref(), deadline)
            .await?;
        let (stream, settings) = FirstFrame::new(stream);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(self.keep_alive.interval())
            .keep_alive_timeout(self.keep_alive.timeout())
            .keep_alive_while_idle(false);
        let handshake = async {
            let (sender, requests) = builder.handshake(TokioIo::new(stream)).await?;
            // A call is not sent before: how many the server takes at once is known by then.
            match settings.await {
                Ok(()) => Ok((sender, requests)),
                Err(_) => Err(requests.await.err()),
            }
        };
        let failed = |error: Option<hyper::Error>| {
            let source = error.map(BoxError::from);
            ConnectError::new(self.address(), ConnectErrorKind::Http2, source)
        };
        let handshake = deadline.limit("the HTTP/2 handshake", handshake).await?;
        handshake.map_err(failed)
    }

    /// Waits until the connection takes no more calls. Returns the error for calls meanwhile.
    async fn serve(&mut self, requests: Requests<B>) -> ConnectError {
        let ended = requests.await;
        let source = ended.err();
        if let Some(error) = &source {
            self.keep_alive.ended(error);
            tracing::debug!(
                address = %Escaped(self.address()),
                error = %ErrorChain(error),
                "a connection has ended, connecting again"
            );
        }
        let source = source.map(BoxError::from);
        ConnectError::new(self.address(), ConnectErrorKind::Closed, source)
    }
}

impl<B> ConnectionTask<B> {
    fn address(&self) -> &str {
        self.dialer.address().as_str()
    }

    fn publish(&self, slot: Slot<B>, connectivity: Connectivity) {
        self.slot.send_replace(slot);
        self.connectivity.send_replace(connectivity);
    }
}

/// However the task ends, nobody waits for it.
impl<B> Drop for ConnectionTask<B> {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(
                address = %Escaped(self.address()),
                "the task of a connection has panicked, its endpoint is lost"
            );
        }
        let error = ConnectError::new(
            self.address(),
            ConnectErrorKind::Closed,
            BoxError::from("its task has ended"),
        );
        let state = Connectivity::Failing {
            cause: Arc::new(error.clone()),
            since: Instant::now(),
            next_attempt: None,
        };
        self.publish(Slot::Failing(error), state);
    }
}
