//! Hosts that cannot be connected to.

use super::*;
use sd_tower::{ConnectErrorKind, ConnectOptions, Connection, Http2Options, Tls};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Gives up soon, and for good.
fn impatient() -> ConnectOptions {
    once().timeout(Duration::from_millis(300))
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_refuses() {
    let address = Server::start().await.kill().await;
    let connection = connect(address, once());
    let error = failing(&connection).await;
    assert_eq!(error.kind(), ConnectErrorKind::Refused);
    assert_eq!(error.address(), address.to_string());
    let chain = sd_core::ErrorChain(&error).to_string();
    let expected = format!("{address} refused the connection: Connection refused");
    assert!(chain.starts_with(&expected), "{chain}");
}

#[tokio::test]
async fn all_callers_of_a_host_that_does_not_answer_fail_together() {
    let host = Silent::black_hole();
    let mut connection = connect(host.address, impatient());
    assert_ready(&mut connection).await;
    let calls = (0..5).map(|_| get(&connection, "/"));
    let errors = futures::future::join_all(calls).await;
    // One connect for all: there is no other for a day.
    for error in errors {
        assert_eq!(timed_out(kind(&error.unwrap_err())), "TCP");
    }
    assert_ready(&mut connection).await;
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up_within_the_one_limit() {
    let host = Silent::listening();
    let plain = connect(host.address, impatient());
    assert_eq!(
        timed_out(failing(&plain).await.kind()),
        "the HTTP/2 handshake"
    );
    let ca = tls::Ca::new();
    let tls = Tls::builder().ca(ca.pem()).build().unwrap();
    let tls = connect(host.address, impatient().tls(tls));
    assert_eq!(timed_out(failing(&tls).await.kind()), "the TLS handshake");
}

#[tokio::test]
async fn a_server_of_something_else_is_known_as_such() {
    let server = Server::speaking(server::Protocol::Http1).await;
    let connection = connect(server.address, once());
    assert_eq!(failing(&connection).await.kind(), ConnectErrorKind::Http2);
    let error = get(&connection, "/").await.unwrap_err();
    assert_eq!(kind(&error), ConnectErrorKind::Http2);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_once() {
    for address in ["", "h", "h:port", "http://h:80"] {
        let error = Connection::<Body>::new(address, once(), Http2Options::new()).unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::InvalidAddress, "{address}");
    }
}

#[tokio::test]
async fn a_name_is_resolved_and_all_its_addresses_are_tried() {
    // `localhost` is `::1` and `127.0.0.1` mostly, and the server is at one of them.
    let server = Server::start().await;
    let address = format!("localhost:{}", server.address.port());
    let connection = Connection::new(&address, once(), Http2Options::new()).unwrap();
    assert_eq!(
        text(&connection, "/a").await.unwrap(),
        format!("http {address} /a")
    );

    let unknown = Connection::<Body>::new("nobody.invalid:80", once(), Http2Options::new());
    let unknown = unknown.unwrap();
    assert_eq!(failing(&unknown).await.kind(), ConnectErrorKind::Resolve);
}

#[tokio::test]
async fn no_call_is_spent_on_trying_and_pauses_are_kept() {
    let address = Server::start().await.kill().await;
    let connection = connect(address, once());
    failing(&connection).await;
    // Nobody connects to it: the next attempt is tomorrow.
    let server = Server::at(address).await;
    for _ in 0..100 {
        let error = get(&connection, "/").await.unwrap_err();
        assert_eq!(kind(&error), ConnectErrorKind::Refused);
    }
    assert_eq!(server.accepted(), 0);
}

/// Speaks HTTP/2 until the client has acknowledged its settings.
async fn greet(mut tcp: TcpStream) {
    let mut settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    tcp.write_all(&settings).await.unwrap();
    settings[4] = 1;
    let mut read = Vec::new();
    while !read.windows(settings.len()).any(|it| it == settings) {
        assert_ne!(tcp.read_buf(&mut read).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_server_that_ends_what_it_accepts_is_connected_to_twice_and_then_after_a_pause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connection = connect(listener.local_addr().unwrap(), once());
    for _ in 0..2 {
        let (tcp, _) = in_time(listener.accept()).await.unwrap();
        greet(tcp).await;
    }
    tokio::select! {
        _ = listener.accept() => panic!("there was no pause"),
        error = failing(&connection) => assert_eq!(error.kind(), ConnectErrorKind::Closed),
    }
}
