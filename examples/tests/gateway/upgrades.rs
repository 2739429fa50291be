//! Connections that stop speaking HTTP.

use crate::{
    client::send_raw,
    gateway::{Gateway, instances_of},
    upstream::Upstream,
};
use axum::{Router, body::Body, extract::Request, response::Response};
use http::{
    HeaderValue, StatusCode,
    header::{CONNECTION, UPGRADE},
};
use hyper_util::rt::TokioIo;
use sd_tests::PATIENCE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::TcpStream,
    time::timeout,
};

/// Upgrades to whatever is asked for, and sends everything back.
async fn echo(mut request: Request) -> Response {
    let mut response = Response::new(Body::empty());
    let Some(protocol) = request.headers().get(UPGRADE).cloned() else {
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut read, mut write) = split(TokioIo::new(upgraded.await.expect("an upgrade")));
        copy(&mut read, &mut write).await
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    response
}

/// A server that upgrades every connection.
pub(crate) async fn echo_server() -> Upstream {
    Upstream::start(Router::new().fallback(echo)).await
}

/// Asks for an upgrade. Returns the connection, and the head of the answer.
pub(crate) async fn upgrade(gateway: &Gateway, protocol: &str) -> (TcpStream, String) {
    let headers = format!("connection: Upgrade\r\nupgrade: {protocol}\r\n");
    send_raw(
        gateway.address(),
        &format!("GET /hello/ HTTP/1.1\r\nhost: x\r\n{headers}\r\n"),
    )
    .await
}

#[tokio::test]
async fn an_upgraded_connection_carries_whatever_both_sides_send() {
    let server = echo_server().await;
    let gateway = Gateway::to(&server).await;
    let (mut stream, head) = upgrade(&gateway, "echo").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("\r\nupgrade: echo\r\n"), "{head}");
    for sent in ["one", "\0\r\n\r\nGET / HTTP/1.1"] {
        stream.write_all(sent.as_bytes()).await.expect("it is sent");
        let mut echoed = vec![0; sent.len()];
        let read = timeout(PATIENCE, stream.read_exact(&mut echoed)).await;
        read.expect("in time").expect("an echo");
        assert_eq!(echoed, sent.as_bytes());
    }

    // The call lasts as long as the connection.
    let in_flight = |expected| {
        move |status: &serde_json::Value| {
            instances_of(status, "hello")[0]["calls"]["in_flight"] == expected
        }
    };
    gateway.shows("the call under way", in_flight(1)).await;
    drop(stream);
    gateway.shows("its end", in_flight(0)).await;
}

#[tokio::test]
async fn the_end_of_a_server_ends_the_connection_of_its_client() {
    let server = echo_server().await;
    let gateway = Gateway::to(&server).await;
    let (mut stream, head) = upgrade(&gateway, "echo").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The client gives up first: it sends no more, and reads to the end.
    stream.shutdown().await.expect("it is told");
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    read.expect("in time").expect("an end");
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn http2_is_not_spoken_past_the_gateway() {
    let server = echo_server().await;
    let gateway = Gateway::to(&server).await;
    let (_, head) = upgrade(&gateway, "h2c").await;
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
}
