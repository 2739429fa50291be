//! Servers behind the gateway.

use axum::Router;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use std::net::SocketAddr;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

/// A server. Dropped, it crashes: its listener and its connections are closed at once.
pub(crate) struct Upstream {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Upstream {
    pub(crate) async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let router = router.clone();
                let service =
                    service_fn(move |request: Request<Incoming>| router.clone().oneshot(request));
                connections.spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let io = TokioIo::new(stream);
                    // Fails if the client is gone.
                    let _ = builder.serve_connection_with_upgrades(io, service).await;
                });
            }
        });
        Self {
            address,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// A server that answers every request with this text.
    pub(crate) async fn saying(text: &'static str) -> Self {
        Self::start(Router::new().fallback(async move || text)).await
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}
