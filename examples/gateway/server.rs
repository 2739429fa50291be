//! The server: HTTP/1.1 and HTTP/2 on one port.

use crate::{proxy::Peer, tasks::Tasks};
use axum::Router;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use sd_core::BoxError;
use std::{convert::Infallible, io, net::SocketAddr, pin::pin, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tower::ServiceExt;

/// How long it waits when it cannot accept connections, mostly since there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Server(TcpListener);

impl Server {
    pub(crate) async fn bind(address: &str) -> Result<Self, BoxError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| {
            format!("cannot listen on {address}: {error}; --listen chooses another address")
        })?;
        Ok(Self(listener))
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Accepts connections until the future is dropped. Their tasks go on.
    pub(crate) async fn serve(self, router: Router, tasks: &Tasks) -> Infallible {
        loop {
            match self.0.accept().await {
                Ok((stream, peer)) => {
                    tasks.spawn(connection(stream, peer, router.clone(), tasks.clone()));
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether a connection has failed before it was accepted.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Serves one connection. When the gateway drains, it ends after the requests that have begun.
async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, tasks: Tasks) {
    // Fails if the client is gone.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request)
    });
    let mut builder = Builder::new(tasks.clone());
    // Also ends connections that send no request for half a minute.
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // An error concerns this client, who knows it.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tasks.draining() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
