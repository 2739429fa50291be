//! Connections that would hold a graceful shutdown up for ever.

use super::{App, Kind, in_time, listener, millis, registrar};
use http::{HeaderValue, Request};
use http_body_util::Empty;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use sd_memory::Registry;
use sd_tower::{RegisteredServer, ServerStatus};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy)]
enum Hanging {
    SaysNothing,
    HalfARequest,
    UnreadResponse,
    WebSocket,
    IdleStream,
}

impl Hanging {
    const ALL: [Self; 5] = [
        Self::SaysNothing,
        Self::HalfARequest,
        Self::UnreadResponse,
        Self::WebSocket,
        Self::IdleStream,
    ];

    /// Those that a server of this kind can get.
    fn of(kind: Kind) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |hanging| match hanging {
            Self::SaysNothing | Self::IdleStream => true,
            Self::HalfARequest | Self::UnreadResponse => kind.takes_http1(),
            Self::WebSocket => kind == Kind::Axum,
        })
    }

    /// Connects, and gets stuck. Resolves once the server has the connection.
    async fn hang(self, address: SocketAddr) -> Stuck {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = match self {
            Self::SaysNothing => return Stuck::Tcp(stream),
            Self::IdleStream => return Stuck::stream(stream).await,
            Self::HalfARequest => "POST /hello/x HTTP/1.1\r\nhost: ",
            Self::UnreadResponse => "GET /hello/endless HTTP/1.1\r\nhost: a\r\n\r\n",
            Self::WebSocket => {
                "GET /hello/upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            }
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        if !matches!(self, Self::HalfARequest) {
            // It is answered, and its body is not read.
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).await.unwrap();
            assert!(begin.starts_with(b"HTTP/1.1 "), "{begin:?}");
        }
        Stuck::Tcp(stream)
    }
}

enum Stuck {
    Tcp(TcpStream),
    Http2 {
        connection: tokio::task::JoinHandle<hyper::Result<()>>,
        _response: http::Response<hyper::body::Incoming>,
    },
}

impl Stuck {
    /// A stream on which neither side says anything.
    async fn stream(stream: TcpStream) -> Self {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let mut request = Request::new(Empty::<bytes::Bytes>::new());
        *request.uri_mut() = "http://a/hello/idle".parse().unwrap();
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert("content-type", grpc);
        let response = sender.send_request(request).await.unwrap();
        Self::Http2 {
            connection,
            _response: response,
        }
    }

    /// Waits until the server has closed the connection.
    async fn ended(self) {
        match self {
            Self::Tcp(mut stream) => {
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
            Self::Http2 { connection, .. } => drop(connection.await.unwrap()),
        }
    }
}

#[tokio::test]
async fn every_kind_of_hanging_connection_is_cut_at_the_deadline() {
    for kind in Kind::ALL {
        for hanging in Hanging::of(kind) {
            let (listener, address) = listener().await;
            let token = CancellationToken::new();
            let server = RegisteredServer::new(listener)
                .finish(millis(50))
                .cancellation_token(token.clone());
            let mut status = server.status();
            let app = App::new(millis(0));
            let served = tokio::spawn(kind.serve(server, app));
            let stuck = in_time(hanging.hang(address)).await;
            // The server has it once it answers a later connection.
            in_time(get(kind, address, "/hello/x")).await;

            token.cancel();
            let served = in_time(served).await.unwrap().unwrap();
            // Servers that take HTTP/1 do not wait for a connection that says nothing.
            let is_cut = !(kind.takes_http1() && matches!(hanging, Hanging::SaysNothing));
            let expected = (usize::from(is_cut), 0);
            assert_eq!((served.cut, served.left), expected, "{kind:?} {hanging:?}");
            in_time(stuck.ended()).await;
            assert!(matches!(*status.borrow_and_update(), ServerStatus::Ended));
        }
    }
}

#[tokio::test]
async fn dropping_the_server_cuts_its_connections() {
    for kind in Kind::ALL {
        for hanging in Hanging::of(kind) {
            let registry = Registry::new();
            let (listener, address) = listener().await;
            let server =
                RegisteredServer::new(listener).registrar(registrar(&registry, address).build());
            let served = tokio::spawn(kind.serve(server, App::new(millis(0))));
            let stuck = in_time(hanging.hang(address)).await;
            in_time(get(kind, address, "/hello/x")).await;
            served.abort();
            in_time(stuck.ended()).await;
        }
    }
}

#[tokio::test]
async fn a_call_that_is_under_way_is_finished() {
    for kind in Kind::ALL {
        let (listener, address) = listener().await;
        let token = CancellationToken::new();
        let server = RegisteredServer::new(listener).cancellation_token(token.clone());
        let mut status = server.status();
        let app = App::new(millis(0));
        let served = tokio::spawn(kind.serve(server, app.clone()));
        let call = tokio::spawn(get(kind, address, "/hello/wait"));
        in_time(app.waits.notified()).await;
        token.cancel();
        in_time(status.wait_for(|it| matches!(it, ServerStatus::Finishing)))
            .await
            .unwrap();
        app.goes_on.notify_one();
        in_time(call).await.unwrap();
        assert!(in_time(served).await.unwrap().unwrap().is_clean());
    }
}

/// Waits for an answer, and closes the connection.
async fn get(kind: Kind, address: SocketAddr, path: &str) {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(!kind.takes_http1())
        .build_http::<Empty<bytes::Bytes>>();
    let uri = format!("http://{address}{path}").parse().unwrap();
    assert_eq!(client.get(uri).await.unwrap().status(), 200);
}
