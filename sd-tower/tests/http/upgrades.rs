//! Connections that stop speaking HTTP.

use crate::{
    client::*,
    observed::heard,
    server::{Server, empty},
};
use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use sd_core::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn echo(mut connection: TokioIo<hyper::upgrade::Upgraded>) {
    connection.write_all(b"Hello").await.unwrap();
    let mut echoed = [0; 5];
    in_time(connection.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(&echoed, b"Hello");
}

#[tokio::test]
async fn an_upgraded_connection_is_a_call_until_it_is_closed() {
    let server = Server::start().await;
    let (hello, heard) = heard(&server).await;
    let mut upgrade = get("/upgrade");
    let headers = upgrade.headers_mut();
    headers.insert("connection", "upgrade".parse().unwrap());
    headers.insert("upgrade", "echo".parse().unwrap());
    let response = send(&hello, upgrade).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let connection = TokioIo::new(in_time(hyper::upgrade::on(response)).await.unwrap());
    let calls = heard.calls();
    assert_eq!((calls.under_way, calls.answered), (1, 1));
    echo(connection).await;
    assert_eq!(heard.outcomes().await, [Outcome::Success]);
}

#[tokio::test]
async fn an_upgrade_that_nobody_takes_ends_the_call() {
    let server = Server::start().await;
    let (hello, heard) = heard(&server).await;
    let mut upgrade = get("/upgrade");
    let headers = upgrade.headers_mut();
    headers.insert("connection", "upgrade".parse().unwrap());
    headers.insert("upgrade", "echo".parse().unwrap());
    drop(send(&hello, upgrade).await.unwrap());
    assert_eq!(heard.outcomes().await, [Outcome::Success]);
}

#[tokio::test]
async fn a_tunnel_is_a_call_until_it_is_closed() {
    let server = Server::start().await;
    let (hello, heard) = heard(&server).await;
    let connect = Request::builder().method(Method::CONNECT);
    let connect = connect.uri("example.com:443").body(empty()).unwrap();
    let response = send(&hello, connect).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(server.only().host, "example.com:443");
    let connection = TokioIo::new(in_time(hyper::upgrade::on(response)).await.unwrap());
    assert_eq!(heard.calls().under_way, 1);
    echo(connection).await;
    assert_eq!(heard.outcomes().await, [Outcome::Success]);
}
