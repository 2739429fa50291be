//! Clients of the gateway.

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use sd_tests::PATIENCE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A client of either version of HTTP. Without retries of its own.
pub(crate) struct Client(legacy::Client<HttpConnector, Body>);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn http1() -> Self {
        Self::new(false)
    }

    pub(crate) fn http2() -> Self {
        Self::new(true)
    }

    /// One of each.
    pub(crate) fn both() -> [Self; 2] {
        [Self::http1(), Self::http2()]
    }

    fn new(is_http2: bool) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.http2_only(is_http2).retry_canceled_requests(false);
        Self(builder.build_http())
    }

    /// Sends a request, and returns its answer as soon as it begins.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        let answer = timeout(PATIENCE, self.0.request(request)).await;
        answer.expect("an answer in time").expect("an answer")
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.send(request).await.into_parts();
        let body = timeout(PATIENCE, body.collect()).await;
        let body = body.expect("an end in time").expect("a whole body");
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(body.to_bytes().into()).expect("text"),
        }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        let request = Request::get(uri).body(Body::empty());
        self.answer(request.expect("a request")).await
    }
}

/// Sends a request as it is written. Returns the connection, and the head of the answer.
pub(crate) async fn send_raw(address: &str, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("in time");
        head.push(byte.expect("a head"));
    }
    (stream, String::from_utf8(head).expect("text"))
}
