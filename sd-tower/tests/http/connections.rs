//! Connections are kept, and known to be broken.

use crate::{client::*, server::Server};
use futures::future::join_all;
use sd_core::{Backoff, EndpointSource};
use sd_tower::{ConnectOptions, HttpOptions, HttpVersions};
use std::time::Duration;

#[tokio::test]
async fn a_connection_is_used_again() {
    for (options, connections) in [
        (HttpOptions::new(), 1),
        (HttpOptions::new().versions(HttpVersions::Http2), 1),
        (HttpOptions::new().max_idle_connections(0), 20),
    ] {
        let server = Server::start().await;
        let hello = ready(service([&server]).http(options), 1).await;
        for _ in 0..20 {
            text(&hello, get("/a")).await.unwrap();
        }
        assert_eq!(server.accepted(), connections);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_time() {
    let server = Server::start().await;
    let options = HttpOptions::new().idle_timeout(Duration::from_millis(100));
    let hello = ready(service([&server]).http(options), 1).await;
    text(&hello, get("/a")).await.unwrap();
    server.open(0).await;
}

#[tokio::test]
async fn connections_are_closed_with_their_service() {
    let server = Server::start().await;
    let hello = ready(service([&server]), 1).await;
    join_all((0..5).map(|_| text(&hello, get("/a")))).await;
    drop(hello);
    server.open(0).await;
}

/// Five requests at once over one connection over HTTP/2.
#[tokio::test]
async fn one_connection_carries_all_requests_over_http2() {
    let server = Server::start().await;
    let options = HttpOptions::new().versions(HttpVersions::Http2);
    let hello = ready(service([&server]).http(options), 1).await;
    let texts = join_all((0..5).map(|_| text(&hello, get("/a")))).await;
    assert!(texts.iter().all(Result::is_ok), "{texts:?}");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_connected_to_gets_no_request_until_it_can() {
    let (server, mut other) = (Server::start().await, Server::start().await);
    let day = Duration::from_secs(24 * 60 * 60);
    let never_again = ConnectOptions::new().backoff(Backoff::new(day, day));
    let hello = ready(service([&server, &other]).connect(never_again), 2).await;
    other.kill().await;
    for _ in 0..20 {
        let text = text(&hello, post("/a", "b")).await.unwrap();
        assert_eq!(text, server.address.to_string());
    }
    let endpoints = hello.endpoints();
    let mut versions = endpoints.versions();
    let one = versions.wait_for(|_| endpoints.endpoints().len() == 1);
    in_time(one).await.unwrap();
}
