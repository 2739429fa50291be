//! The task that connects.

use super::{
    Slot,
    driver::Driven,
    first_frame::FirstFrame,
    keep_alive::KeepAlive,
    options::Http2Options,
    reconnects::{Next, Reconnects},
};
use crate::connection::{
    connect_error::{ConnectError, ConnectErrorKind},
    dialer::Dialer,
    encryption::Encryption,
};
use http_body::Body;
use sd_core::{BoxError, Connectivity, ErrorChain, Escaped};
use std::{sync::Arc, thread};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until},
};

/// Connects, publishes where to send calls, and connects again when the connection ends.
pub(super) struct ConnectionTask<B> {
    dialer: Dialer,
    encryption: Option<Encryption>,
    keep_alive: KeepAlive,
    reconnects: Reconnects,
    /// How many connections there were.
    connections: u64,
    slot: watch::Sender<Slot<B>>,
    connectivity: watch::Sender<Connectivity>,
}

impl<B> ConnectionTask<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(
        dialer: Dialer,
        encryption: Option<Encryption>,
        options: Http2Options,
        slot: watch::Sender<Slot<B>>,
        connectivity: watch::Sender<Connectivity>,
    ) -> Self {
        Self {
            keep_alive: KeepAlive::new(&options),
            reconnects: Reconnects::new(dialer.backoff(), Instant::now()),
            dialer,
            encryption,
            connections: 0,
            slot,
            connectivity,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let (next, error) = match self.connect().await {
                Ok(Driven { sender, ended }) => {
                    self.reconnects.connected(Instant::now());
                    self.connections += 1;
                    self.publish(Slot::Ready(self.connections, sender), Connectivity::Ready);
                    let error = self.ended(ended).await;
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

    async fn connect(&self) -> Result<Driven<B>, ConnectError> {
        let deadline = self.dialer.deadline();
        let stream = (self.dialer)
            .dial(self.encryption.as_ref(), deadline)
            .await?;
        let (stream, settings) = FirstFrame::new(stream);
        let handshake = async {
            let driven = Driven::spawn(stream, &self.keep_alive).await?;
            // No call is sent before: how many the server takes at once is known by then.
            match settings.await {
                Ok(()) => Ok(driven),
                Err(_) => Err(ended_with(driven.ended).await),
            }
        };
        let handshake = deadline.limit("the HTTP/2 handshake", handshake).await?;
        handshake.map_err(|error: Option<hyper::Error>| {
            let source = error.map(BoxError::from);
            ConnectError::new(self.address(), ConnectErrorKind::Http2, source)
        })
    }

    /// Waits until the connection takes no more calls. Returns the error for calls meanwhile.
    async fn ended(&mut self, ended: oneshot::Receiver<hyper::Result<()>>) -> ConnectError {
        let error = ended_with(ended).await;
        if let Some(error) = &error {
            self.keep_alive.ended(error);
            tracing::debug!(
                address = %Escaped(self.address()),
                error = %ErrorChain(error),
                "a connection has ended, connecting again"
            );
        }
        let source = error.map(BoxError::from);
        ConnectError::new(self.address(), ConnectErrorKind::Closed, source)
    }
}

/// The error with which a connection has ended, if there was one.
async fn ended_with(ended: oneshot::Receiver<hyper::Result<()>>) -> Option<hyper::Error> {
    ended.await.ok()?.err()
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
