//! Servers that note what they were asked, and fail as a test tells them.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, StreamBody, channel::Channel, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use sd_core::{BoxError, Instancer, Key, Prefix, Registrar, Service};
use sd_memory::Registry;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// A server of HTTP/1 and HTTP/2 on a socket, which is killed when it is dropped.
///
/// | path | answer |
/// |---|---|
/// | `/echo` | the body and the trailers, as they come |
/// | `/endless` | a first frame, and no end |
/// | `/upgrade`, and every `CONNECT` | the connection, on which all is sent back |
/// | others | its address |
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<AbortOnDropHandle<()>>,
}

struct Shared {
    address: SocketAddr,
    behaviour: Mutex<Behaviour>,
    received: watch::Sender<Vec<Received>>,
    accepted: AtomicUsize,
    open: watch::Sender<usize>,
    under_way: watch::Sender<usize>,
}

/// A request that a server has got.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// `:authority`, or else `Host`.
    pub(crate) host: String,
    pub(crate) scheme: Option<String>,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    /// Except that of `/echo`.
    pub(crate) body: Bytes,
}

/// How a server answers.
#[derive(Debug, Clone, Default)]
pub(crate) enum Behaviour {
    #[default]
    Answers,
    Refuses(StatusCode, Option<&'static str>),
    /// Ends the connection when it has got the request.
    Breaks,
    /// The same within the body.
    BreaksBody,
    After(Duration),
    NeverAnswers,
}

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

impl Server {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Self {
        Self::serve(None).await
    }

    pub(crate) async fn with_tls(acceptor: TlsAcceptor) -> Self {
        Self::serve(Some(acceptor)).await
    }

    /// Starts one, and registers it under `hello`.
    pub(crate) async fn register(registry: &Registry) -> Self {
        let server = Self::start().await;
        register(registry, &server.address.to_string()).await;
        server
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            address,
            behaviour: Mutex::default(),
            received: watch::Sender::default(),
            accepted: AtomicUsize::new(0),
            open: watch::Sender::default(),
            under_way: watch::Sender::default(),
        });
        let accepting = tokio::spawn(accept(listener, tls, shared.clone()));
        Self {
            address,
            shared,
            accepting: Some(AbortOnDropHandle::new(accepting)),
        }
    }

    /// Closes the port and all connections, as a crash does. Its registration stays.
    pub(crate) async fn kill(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.borrow().clone()
    }

    /// Waits until it has got so many requests.
    pub(crate) async fn got(&self, count: usize) {
        let mut received = self.shared.received.subscribe();
        let got = received.wait_for(|received| received.len() >= count);
        crate::client::in_time(got).await.unwrap();
    }

    /// The only request that it has got.
    pub(crate) fn only(&self) -> Received {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }

    /// The paths that it was asked for.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.received().into_iter().map(|one| one.path).collect()
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Waits until so many connections are open.
    pub(crate) async fn open(&self, count: usize) {
        let mut open = self.shared.open.subscribe();
        let open = open.wait_for(|open| *open == count);
        crate::client::in_time(open).await.unwrap();
    }

    /// Waits until so many requests are being answered, up to the head.
    pub(crate) async fn under_way(&self, count: usize) {
        let mut under_way = self.shared.under_way.subscribe();
        let under_way = under_way.wait_for(|under_way| *under_way == count);
        crate::client::in_time(under_way).await.unwrap();
    }
}

/// Counts what goes on, however it ends.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn by(counter: &watch::Sender<usize>) -> Self {
        counter.send_modify(|count| *count += 1);
        Self(counter.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let (tls, shared) = (tls.clone(), shared.clone());
        connections.spawn(async move {
            let _open = Counted::by(&shared.open);
            match tls {
                None => serve(tcp, shared).await,
                Some(tls) => {
                    if let Ok(tls) = tls.accept(tcp).await {
                        serve(tls, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, shared.clone()));
    let builder = auto::Builder::new(TokioExecutor::new());
    let _ = builder
        .serve_connection_with_upgrades(TokioIo::new(io), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Body>, BoxError> {
    let _under_way = Counted::by(&shared.under_way);
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let is_upgrade = path == "/upgrade" || head.method == Method::CONNECT;
    let body: Body = body.map_err(Into::into).boxed_unsync();
    let (whole, rest) = match path.as_str() {
        "/echo" => (Bytes::new(), body),
        _ => (body.collect().await?.to_bytes(), empty()),
    };
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let authority = head.uri.authority().map(|it| it.to_string());
    let host = authority.or(head.headers.get(header::HOST).map(text));
    let received = Received {
        method: head.method.clone(),
        path: path.clone(),
        host: host.unwrap_or_default(),
        scheme: head.uri.scheme_str().map(str::to_owned),
        version: head.version,
        headers: head.headers.clone(),
        body: whole,
    };
    (shared.received).send_modify(|all| all.push(received));
    let behaviour = shared.behaviour.lock().unwrap().clone();
    match behaviour {
        Behaviour::Answers => {}
        Behaviour::Refuses(status, retry_after) => {
            let mut response = Response::new(full("refused"));
            *response.status_mut() = status;
            if status.is_redirection() {
                let elsewhere = "/elsewhere".parse().unwrap();
                response.headers_mut().insert(header::LOCATION, elsewhere);
            }
            if let Some(retry_after) = retry_after {
                let value = retry_after.parse().unwrap();
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            return Ok(response);
        }
        Behaviour::Breaks => return Err("it breaks".into()),
        Behaviour::BreaksBody => {
            let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
            tokio::spawn(async move {
                let _ = sender.send_data(Bytes::from("first")).await;
                sender.abort("it breaks".into());
            });
            return Ok(Response::new(body.boxed_unsync()));
        }
        Behaviour::After(delay) => tokio::time::sleep(delay).await,
        Behaviour::NeverAnswers => std::future::pending().await,
    }
    Ok(match path.as_str() {
        "/echo" => {
            let mut response = Response::new(rest);
            // HTTP/1 sends the trailers that are announced.
            if let Some(trailer) = head.headers.get(header::TRAILER) {
                let headers = response.headers_mut();
                headers.insert(header::TRAILER, trailer.clone());
            }
            response
        }
        "/endless" => {
            let first = futures::stream::once(async { Ok(Frame::data(Bytes::from("first"))) });
            let endless = futures::StreamExt::chain(first, futures::stream::pending());
            Response::new(StreamBody::new(endless).boxed_unsync())
        }
        _ if is_upgrade => upgrade(Request::from_parts(head, ())),
        _ => Response::new(full(shared.address.to_string())),
    })
}

/// Sends back all that comes on the upgraded connection.
fn upgrade<B>(mut request: Request<B>) -> Response<Body> {
    let is_connect = request.method() == Method::CONNECT;
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let mut response = Response::new(empty());
    if !is_connect {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, "upgrade".parse().unwrap());
        headers.insert(header::UPGRADE, "echo".parse().unwrap());
    }
    response
}

pub(crate) fn empty() -> Body {
    full("")
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    let full = Full::new(text.into()).map_err(|never| match never {});
    full.boxed_unsync()
}

pub(crate) async fn register(registry: &Registry, address: &str) {
    let key = Key::new(format!("/services/hello/{address}")).unwrap();
    let service = Service::new(key, address.to_owned()).unwrap();
    let registrar = Registrar::new(registry.client(), service);
    registrar.register().await.unwrap();
    // It stays for as long as the test runs.
    std::mem::forget(registrar);
}

/// The instances of `hello`.
pub(crate) fn instancer(registry: &Registry) -> Instancer {
    Instancer::new(registry.client(), Prefix::new("/services/hello").unwrap())
}
