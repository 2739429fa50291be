//! Servers that register themselves, on real sockets and the memory registry.

#![allow(clippy::unwrap_used, reason = "a test")]

mod advertise;
mod cut;
mod drain;
mod phases;
mod signals;

use http::{Request, Response};
use sd_core::Codec;
use sd_core::{DefaultCodec, Instance, Key, Registrar, RegistrarBuilder, Service};
use sd_memory::Registry;
use sd_tower::{Incoming, RegisteredServer};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::body::Body;

const PREFIX: &str = "/services/hello/";
/// How long anything may take. Nothing asserts that it is faster.
const PATIENCE: Duration = Duration::from_secs(30);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// In JSON, which can announce draining.
fn registrar(registry: &Registry, address: SocketAddr) -> RegistrarBuilder {
    let key = Key::new(format!("{PREFIX}{address}")).unwrap();
    let instance = Instance::new(key.clone(), address.to_string()).with_weight(2);
    let value = DefaultCodec.encode(&instance).unwrap();
    let service = Service::new(key, value).unwrap();
    Registrar::builder(registry.client(), service)
}

/// A server that only waits until it is to end.
async fn idle(_: Incoming, shutdown: WaitForCancellationFutureOwned) -> Result<(), Infallible> {
    shutdown.await;
    Ok(())
}

/// The servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Axum,
    Tonic,
    /// As for gRPC-Web.
    TonicWithHttp1,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Axum, Self::Tonic, Self::TonicWithHttp1];

    fn takes_http1(self) -> bool {
        self != Self::Tonic
    }

    /// Serves `app` until the end of the server.
    async fn serve(
        self,
        server: RegisteredServer,
        app: App,
    ) -> Result<sd_tower::Served, sd_tower::ServeError> {
        match self {
            Self::Axum => {
                let app = axum::Router::new().fallback_service(app);
                let serve = |incoming, shutdown| {
                    axum::serve(incoming, app).with_graceful_shutdown(shutdown)
                };
                server.serve(serve).await
            }
            Self::Tonic | Self::TonicWithHttp1 => {
                let serve = |incoming, shutdown| {
                    tonic::transport::Server::builder()
                        .accept_http1(self.takes_http1())
                        .add_service(app)
                        .serve_with_incoming_shutdown(incoming, shutdown)
                };
                server.serve(serve).await
            }
        }
    }
}

/// Answers every request with the body that the path names.
#[derive(Clone)]
struct App {
    work: Duration,
    /// A call of `/hello/wait` is under way.
    waits: Arc<Notify>,
    /// And may end.
    goes_on: Arc<Notify>,
}

impl App {
    /// Each call takes `work`.
    fn new(work: Duration) -> Self {
        Self {
            work,
            waits: Arc::default(),
            goes_on: Arc::default(),
        }
    }
}

impl tonic::server::NamedService for App {
    const NAME: &'static str = "hello";
}

impl<B: Send + 'static> tower::Service<Request<B>> for App {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let app = self.clone();
        Box::pin(async move {
            tokio::time::sleep(app.work).await;
            let path = request.uri().path().to_owned();
            if path == "/hello/wait" {
                app.waits.notify_one();
                app.goes_on.notified().await;
            }
            let mut response = Response::new(match path.as_str() {
                "/hello/endless" => Body::new(Endless { pause: false }),
                "/hello/idle" => Body::new(Endless { pause: true }),
                _ => Body::empty(),
            });
            if path == "/hello/upgrade" {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(hold(upgrade));
                let headers = response.headers_mut();
                headers.insert("connection", "upgrade".parse().unwrap());
                headers.insert("upgrade", "websocket".parse().unwrap());
                *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
            }
            Ok(response)
        })
    }
}

/// As the task of a WebSocket does: its halves are in different tasks, and it only reads.
async fn hold(upgrade: hyper::upgrade::OnUpgrade) {
    let upgraded = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
    let (mut read, _write) = tokio::io::split(upgraded);
    let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
}

/// A body that never ends, with or without data.
struct Endless {
    pause: bool,
}

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        match self.pause {
            true => Poll::Pending,
            false => Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(
                &[0; 16 * 1024],
            ))))),
        }
    }
}

/// Fails after [`PATIENCE`].
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it takes too long")
}
