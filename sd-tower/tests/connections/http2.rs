//! The life of a connection.

use super::*;
use http::Request;
use http_body_util::{BodyExt, Empty};
use sd_core::{Connectable, Connectivity};
use sd_tower::{ConnectErrorKind, Connection, Http2Options};
use std::time::Duration;
use tower::ServiceExt;

#[tokio::test]
async fn it_connects_without_a_call_and_completes_requests() {
    let server = Server::start().await;
    let connection = connect(server.address, once());
    ready(&connection).await;
    let address = server.address.to_string();
    let answer = text(&connection, "/pkg.Service/Method").await.unwrap();
    assert_eq!(answer, format!("http {address} /pkg.Service/Method"));
    // What the request says stands.
    let request = Request::get("http://hello/a?b").body(Empty::new()).unwrap();
    let answer = read(connection.clone().oneshot(request).await.unwrap()).await;
    assert_eq!(answer.unwrap(), "http hello /a");

    let options = Http2Options::new().authority("named".parse().unwrap());
    let named = Connection::new(&address, once(), options).unwrap();
    assert_eq!(text(&named, "/a").await.unwrap(), "http named /a");
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_killed_server_is_known_without_a_call_and_so_is_its_return() {
    let server = Server::start().await;
    let connection = connect(server.address, soon());
    ready(&connection).await;
    let address = server.kill().await;
    assert_eq!(failing(&connection).await.kind(), ConnectErrorKind::Refused);
    let error = get(&connection, "/").await.unwrap_err();
    assert_eq!(kind(&error), ConnectErrorKind::Refused);
    let server = Server::at(address).await;
    ready(&connection).await;
    text(&connection, "/").await.unwrap();
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_call_to_a_server_that_is_back_waits_for_the_connection() {
    let server = Server::start().await;
    let connection = connect(server.address, once());
    // Made while it connects.
    text(&connection, "/a").await.unwrap();
    assert_eq!((server.accepted(), server.requests("/a")), (1, 1));
}

#[tokio::test]
async fn a_call_under_way_ends_with_its_server_and_is_no_connect_error() {
    let server = Server::start().await;
    let connection = connect(server.address, soon());
    let call = tokio::spawn({
        let connection = connection.clone();
        async move { get(&connection, "/wait").await.map(|_| ()) }
    });
    server.waiting(1).await;
    server.kill().await;
    let error = in_time(call).await.unwrap().unwrap_err();
    assert!(error.is::<hyper::Error>(), "it was sent: {error:?}");
}

#[tokio::test]
async fn dropping_the_last_clone_ends_the_task_and_closes_the_connection() {
    let server = Server::start().await;
    let connection = connect(server.address, once());
    let clone = connection.clone();
    ready(&connection).await;
    let mut states = connection.connectivity();
    drop(connection);
    text(&clone, "/").await.unwrap();
    server.open(1).await;
    drop(clone);
    server.open(0).await;
    let ended = in_time(states.wait_for(|state| {
        matches!(
            state,
            Connectivity::Failing {
                next_attempt: None,
                ..
            }
        )
    }))
    .await;
    drop(ended.unwrap());
    assert!(
        in_time(states.changed()).await.is_err(),
        "the task has ended"
    );
}

#[tokio::test]
async fn a_call_and_a_body_outlive_the_last_clone() {
    let server = Server::start().await;
    let connection = connect(server.address, once());
    let stream = get(&connection, "/stream").await.unwrap();
    let call = connection
        .clone()
        .oneshot(Request::get("/wait").body(Empty::new()).unwrap());
    drop(connection);
    let call = tokio::spawn(call);
    server.waiting(2).await;
    server.go_on();
    let answer = in_time(call).await.unwrap().unwrap();
    assert_eq!(read(answer).await.unwrap(), "waited");
    assert_eq!(read(stream).await.unwrap(), "first last");
    server.open(0).await;
}

#[tokio::test]
async fn a_body_that_is_dropped_closes_the_connection_of_which_it_was_the_last() {
    let server = Server::start().await;
    let connection = connect(server.address, once());
    let mut stream = get(&connection, "/stream").await.unwrap().into_body();
    drop(connection);
    let first = in_time(stream.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first ");
    server.open(1).await;
    drop(stream);
    server.open(0).await;
}

#[tokio::test]
async fn a_connect_under_way_is_dropped_with_the_last_clone() {
    let host = Silent::listening();
    let connection = connect(host.address, once());
    let mut states = connection.connectivity();
    drop(connection);
    let ended = in_time(states.wait_for(Connectivity::is_failing)).await;
    drop(ended.unwrap());
    assert!(in_time(states.changed()).await.is_err());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed_while_a_call_is_under_way() {
    let server = Server::start().await;
    let proxy = Proxy::to(server.address).await;
    let options = Http2Options::new()
        .keep_alive_interval(Duration::from_millis(100))
        .keep_alive_timeout(Duration::from_millis(100));
    let connect = once().timeout(Duration::from_millis(500));
    let connection = Connection::new(&proxy.address.to_string(), connect, options).unwrap();
    let call = tokio::spawn({
        let connection = connection.clone();
        async move { get(&connection, "/wait").await.map(|_| ()) }
    });
    server.waiting(1).await;
    proxy.freeze();
    let error = in_time(call).await.unwrap().unwrap_err();
    assert!(error.is::<hyper::Error>(), "{error:?}");
    // The next connection gets no answer either.
    assert_eq!(
        timed_out(failing(&connection).await.kind()),
        "the HTTP/2 handshake"
    );
}

#[tokio::test]
async fn a_burst_on_a_new_connection_is_not_refused() {
    let server = Server::with_streams(10).await;
    let connection = connect(server.address, once());
    let calls = (0..500).map(|_| text(&connection, "/a"));
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!((server.requests("/a"), server.accepted()), (500, 1));
}

#[test]
fn the_end_of_the_runtime_ends_calls() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (server, connection) = runtime.block_on(async {
        let server = Server::start().await;
        let connection = connect(server.address, once());
        ready(&connection).await;
        (server, connection)
    });
    drop(runtime);
    drop(server);
    let another = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = another.block_on(get(&connection, "/")).unwrap_err();
    assert_eq!(kind(&error), ConnectErrorKind::Closed);
}
