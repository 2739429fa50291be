//! Servers that a test can kill, drain, freeze and count.

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, channel::Channel, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    rt::{Read, Write},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// A server that is killed when it is dropped.
///
/// `/name` answers with what it has got: the authority and the path. `/wait` answers when it is told
/// to [`go_on`](Server::go_on). `/stream` answers at once, with a body that goes on until then.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<AbortOnDropHandle<()>>,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicUsize,
    open: watch::Sender<usize>,
    /// How often each path was asked for.
    requests: Mutex<HashMap<String, usize>>,
    answered: watch::Sender<usize>,
    waiting: watch::Sender<usize>,
    drain: Notify,
    go_on: Notify,
    most_streams: Option<u32>,
}

/// What the connections of a server speak.
#[derive(Clone)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    /// HTTP/2, by ALPN or without.
    Tls(TlsAcceptor),
}

impl Server {
    /// An HTTP/2 server on a free port.
    pub(crate) async fn start() -> Self {
        Self::speaking(Protocol::Http2).await
    }

    pub(crate) async fn speaking(protocol: Protocol) -> Self {
        Self::serve("127.0.0.1:0", protocol, Shared::default()).await
    }

    /// One that takes so many calls at once.
    pub(crate) async fn with_streams(most: u32) -> Self {
        let shared = Shared {
            most_streams: Some(most),
            ..Shared::default()
        };
        Self::serve("127.0.0.1:0", Protocol::Http2, shared).await
    }

    /// An HTTP/2 server on this port.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        Self::serve(&address.to_string(), Protocol::Http2, Shared::default()).await
    }

    async fn serve(address: &str, protocol: Protocol, shared: Shared) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(shared));
        let accepting = tokio::spawn(accept(listener, protocol, shared.clone()));
        Self {
            address,
            shared,
            accepting: Some(AbortOnDropHandle::new(accepting)),
        }
    }

    /// Closes the port and all connections. Returns the address.
    pub(crate) async fn kill(mut self) -> SocketAddr {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = accepting.await;
        }
        self.address
    }

    /// Has all connections closed gracefully: GOAWAY, and the end after the last stream.
    pub(crate) fn drain(&self) {
        self.shared.drain.notify_waiters();
    }

    /// Answers all that wait.
    pub(crate) fn go_on(&self) {
        self.shared.go_on.notify_waiters();
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Waits until so many connections are open.
    pub(crate) async fn open(&self, count: usize) {
        let mut open = self.shared.open.subscribe();
        crate::in_time(open.wait_for(|open| *open == count))
            .await
            .unwrap();
    }

    /// Waits until so many calls wait.
    pub(crate) async fn waiting(&self, count: usize) {
        let mut waiting = self.shared.waiting.subscribe();
        crate::in_time(waiting.wait_for(|it| *it == count))
            .await
            .unwrap();
    }

    /// Waits until so many calls were answered.
    pub(crate) async fn answered(&self, count: usize) {
        let mut answered = self.shared.answered.subscribe();
        crate::in_time(answered.wait_for(|it| *it >= count))
            .await
            .unwrap();
    }

    /// How often `path` was asked for.
    pub(crate) fn requests(&self, path: &str) -> usize {
        let requests = self.shared.requests.lock().unwrap();
        requests.get(path).copied().unwrap_or_default()
    }
}

async fn accept(listener: TcpListener, protocol: Protocol, shared: Arc<Shared>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        shared.open.send_modify(|open| *open += 1);
        let (protocol, shared) = (protocol.clone(), shared.clone());
        connections.spawn(async move {
            let _open = Open(shared.clone());
            match protocol {
                Protocol::Http1 => serve_http1(TokioIo::new(tcp), shared).await,
                Protocol::Http2 => serve_http2(TokioIo::new(tcp), shared).await,
                Protocol::Tls(acceptor) => {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        serve_http2(TokioIo::new(tls), shared).await;
                    }
                }
            }
        });
    }
}

/// Counts a connection that is open, however it ends.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

async fn serve_http1(io: TokioIo<TcpStream>, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, shared.clone()));
    let builder = hyper::server::conn::http1::Builder::new();
    let _ = builder.serve_connection(io, service).await;
}

async fn serve_http2(io: impl Read + Write + Unpin + 'static, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, shared.clone()));
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(shared.most_streams.or(Some(200)));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    loop {
        let drain = shared.drain.notified();
        tokio::select! {
            _ = &mut connection => return,
            () = drain => connection.as_mut().graceful_shutdown(),
        }
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> BoxFuture<'static, Result<Answer, Infallible>> {
    let path = request.uri().path().to_owned();
    *shared
        .requests
        .lock()
        .unwrap()
        .entry(path.clone())
        .or_default() += 1;
    let go_on = shared.clone();
    let go_on = async move {
        let notified = go_on.go_on.notified();
        let mut notified = std::pin::pin!(notified);
        // Hears of all that comes from here on.
        notified.as_mut().enable();
        go_on.waiting.send_modify(|waiting| *waiting += 1);
        notified.await;
        go_on.waiting.send_modify(|waiting| *waiting -= 1);
    };
    async move {
        let text = match path.as_str() {
            "/wait" => {
                go_on.await;
                "waited".to_owned()
            }
            "/stream" => {
                let (mut sender, body) = Channel::new(1);
                tokio::spawn(async move {
                    let _ = sender.send_data(Bytes::from("first ")).await;
                    go_on.await;
                    let _ = sender.send_data(Bytes::from("last")).await;
                });
                return Ok(Response::new(body.boxed()));
            }
            path => {
                shared.answered.send_modify(|answered| *answered += 1);
                let host = request.headers().get("host").map(|it| it.to_str().unwrap());
                let authority = request.uri().authority().map(|it| it.as_str());
                let scheme = request.uri().scheme_str().unwrap_or("-");
                format!("{scheme} {} {path}", authority.or(host).unwrap_or("-"))
            }
        };
        let frame = Ok(Frame::data(Bytes::from(text)));
        let body = StreamBody::new(futures::stream::once(async { frame }));
        Ok(Response::new(BodyExt::boxed(body)))
    }
    .boxed()
}

/// A port that takes connections and never says a word; how many may be open is limited by the
/// system's queue, and more get no answer to their first packet.
pub(crate) struct Silent {
    pub(crate) address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<socket2::Socket>,
}

impl Silent {
    /// Takes connections.
    pub(crate) fn listening() -> Self {
        Self::with_queue(128)
    }

    /// Does not even answer to the first packet.
    pub(crate) fn black_hole() -> Self {
        let mut silent = Self::with_queue(0);
        // More than the queue takes. Those that it does not take go on trying.
        silent._queued = (0..4)
            .map(|_| {
                let socket = Self::socket();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&silent.address.into());
                socket
            })
            .collect();
        silent
    }

    fn with_queue(backlog: i32) -> Self {
        let listener = Self::socket();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(backlog).unwrap();
        Self {
            address: listener.local_addr().unwrap().as_socket().unwrap(),
            _listener: listener,
            _queued: Vec::new(),
        }
    }

    fn socket() -> socket2::Socket {
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()
    }
}

/// Passes bytes on in both directions until it is frozen. Then it holds the connections open and
/// passes nothing on.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    frozen: watch::Sender<bool>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let frozen = watch::Sender::new(false);
        let is_frozen = frozen.subscribe();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut is_frozen = is_frozen.clone();
                connections.spawn(async move {
                    if *is_frozen.borrow() {
                        return std::future::pending().await;
                    }
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let copying = tokio::io::copy_bidirectional(&mut client, &mut server);
                    tokio::select! {
                        _ = copying => return,
                        _ = is_frozen.wait_for(|frozen| *frozen) => {}
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Self {
            address,
            frozen,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }
}
