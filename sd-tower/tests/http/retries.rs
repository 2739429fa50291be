//! What is sent again, and what never is.

use crate::{
    client::*,
    server::{Behaviour, Server, full, instancer},
};
use bytes::Bytes;
use futures::future::join_all;
use http::{Method, StatusCode};
use sd_core::{Ejection, RoundRobin};
use sd_memory::Registry;
use sd_tower::{CallPolicy, HttpErrorKind, HttpService};
use std::{collections::HashSet, time::Duration};

/// Sends each request to the servers in turn, so that a retry goes to the other one.
fn in_turn<'a>(servers: impl IntoIterator<Item = &'a Server>) -> sd_tower::HttpServiceBuilder {
    service(servers).balancer(RoundRobin::new)
}

/// How many such requests a server has got.
fn paths(server: &Server, method: &Method, path: &str) -> usize {
    let received = server.received();
    let such = received
        .iter()
        .filter(|one| one.method == *method && one.path == path);
    such.count()
}

#[tokio::test]
async fn a_killed_server_costs_no_idempotent_request_and_has_none_executed_twice() {
    let registry = Registry::new();
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::register(&registry).await);
    }
    let builder = HttpService::builder(instancer(&registry))
        .balancer(|endpoints| RoundRobin::new(Ejection::new(endpoints)));
    let hello = ready(builder, 3).await;
    for server in &servers {
        server.behave(Behaviour::After(Duration::from_millis(2)));
    }
    let gets = async {
        for round in 0..50 {
            let sent = (0..4).map(|n| text(&hello, get(&format!("/get/{round}/{n}"))));
            for sent in join_all(sent).await {
                sent.unwrap();
            }
        }
    };
    let posts = async {
        let mut failed = HashSet::new();
        for round in 0..50 {
            let path = |n| format!("/post/{round}/{n}");
            let sent = (0..4).map(|n| {
                let (hello, path) = (&hello, path(n));
                async move { text(hello, post(&path, "body")).await }
            });
            for (n, sent) in join_all(sent).await.into_iter().enumerate() {
                if let Err(error) = sent {
                    assert_eq!(error.kind(), HttpErrorKind::Connection);
                    assert!(!sd_tower::nothing_executed(&error), "{error}");
                    failed.insert(path(n));
                }
            }
        }
        failed
    };
    let first = &mut servers[0];
    let kill = async {
        first.got(50).await;
        first.kill().await;
    };
    let ((), failed, ()) = tokio::join!(gets, posts, kill);

    let mut seen = HashSet::new();
    let received = servers.iter().flat_map(Server::received);
    for post in received.filter(|one| one.method == Method::POST) {
        assert!(
            seen.insert(post.path.clone()),
            "{} was sent twice",
            post.path
        );
    }
    // Whether the server had got those is not known.
    seen.extend(failed);
    assert_eq!(seen.len(), 200);
}

#[tokio::test]
async fn what_could_not_be_sent_is_sent_to_another() {
    let server = Server::start().await;
    let dead = nobody().await;
    let addresses = [dead, server.address.to_string()];
    let builder = HttpService::builder(instances(addresses)).balancer(RoundRobin::new);
    let hello = ready(builder, 2).await;
    let large = Bytes::from(vec![b'a'; 1024 * 1024]);
    for n in 0..10 {
        let request = request(Method::POST, &format!("/{n}"), full(large.clone()));
        text(&hello, request).await.unwrap();
    }
    let received = server.received();
    assert_eq!(received.len(), 10);
    assert!(received.iter().all(|one| one.body == large));
}

#[tokio::test]
async fn a_refusal_is_tried_again_for_idempotent_requests_with_their_whole_body() {
    let (first, second) = (Server::start().await, Server::start().await);
    first.behave(Behaviour::Refuses(StatusCode::SERVICE_UNAVAILABLE, None));
    let hello = ready(in_turn([&first, &second]), 2).await;
    for n in 0..4 {
        let put = request(Method::PUT, &format!("/{n}"), full("whole"));
        assert_eq!(text(&hello, put).await.unwrap(), second.address.to_string());
    }
    assert!(!first.received().is_empty());
    let received = second.received();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|one| one.body == "whole"));

    for (status, method) in [
        (StatusCode::SERVICE_UNAVAILABLE, Method::POST),
        (StatusCode::TOO_MANY_REQUESTS, Method::GET),
    ] {
        first.behave(Behaviour::Refuses(status, None));
        let mut refused = 0;
        for _ in 0..4 {
            let sent = request(method.clone(), "/once", full("once"));
            refused += usize::from(send(&hello, sent).await.unwrap().status() == status);
        }
        let got = [&first, &second].map(|server| paths(server, &method, "/once"));
        assert_eq!(
            got[0], refused,
            "what the first server has got was not sent again"
        );
        assert_eq!(got[0] + got[1], 4);
    }
}

#[tokio::test]
async fn a_policy_may_say_that_a_request_is_idempotent_and_what_is_tried_again() {
    let (first, second) = (Server::start().await, Server::start().await);
    first.behave(Behaviour::Refuses(StatusCode::CONFLICT, None));
    let policy = CallPolicy::new()
        .idempotent(true)
        .retry_on([StatusCode::CONFLICT]);
    let hello = ready(in_turn([&first, &second]).policy_of("/search/", policy), 2).await;
    for n in 0..4 {
        let search = post(&format!("/search/{n}"), "query");
        assert_eq!(
            text(&hello, search).await.unwrap(),
            second.address.to_string()
        );
    }
}

#[tokio::test]
async fn the_last_refusal_is_handed_on() {
    let server = Server::start().await;
    server.behave(Behaviour::Refuses(StatusCode::BAD_GATEWAY, None));
    let hello = ready(service([&server]), 1).await;
    let response = send(&hello, get("/a")).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(read(response).await.unwrap(), "refused");
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn what_a_body_over_the_limit_has_lost_is_not_sent_again() {
    let server = Server::start().await;
    server.behave(Behaviour::Breaks);
    let hello = ready(service([&server]), 1).await;
    let put = |bytes| request(Method::PUT, "/a", full(vec![b'a'; bytes]));
    let error = send(&hello, put(65 * 1024)).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::Connection);
    assert_eq!(server.received().len(), 1);
    send(&hello, put(64 * 1024)).await.unwrap_err();
    assert_eq!(server.received().len(), 4, "three attempts more");
}

#[tokio::test]
async fn idempotent_requests_are_sent_again_when_the_connection_broke() {
    let (first, second) = (Server::start().await, Server::start().await);
    first.behave(Behaviour::Breaks);
    let hello = ready(in_turn([&first, &second]), 2).await;
    for n in 0..4 {
        text(&hello, get(&format!("/{n}"))).await.unwrap();
    }
    assert!(!first.received().is_empty());
    let mut failed = 0;
    for _ in 0..4 {
        failed += usize::from(send(&hello, post("/once", "once")).await.is_err());
    }
    let got = [&first, &second].map(|server| paths(server, &Method::POST, "/once"));
    assert_eq!(got[0], failed);
    assert_eq!(got[0] + got[1], 4);
}
