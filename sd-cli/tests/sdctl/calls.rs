//! `resolve` and `call`.

use crate::support::on;
use axum::{Router, http::StatusCode, routing::get};
use sd_tests::Etcd;
use std::net::TcpListener as StdListener;
use tokio::net::TcpListener;

async fn put(etcd: &Etcd, address: &str, rest: &str) {
    let value = format!(r#"{{"address":"{address}"{rest}}}"#);
    etcd.put(format!("/services/hello/{address}"), value).await;
}

#[tokio::test]
async fn what_a_client_would_see_and_pick_is_shown() {
    let etcd = Etcd::start().await;
    put(&etcd, "10.0.0.1:80", r#","weight":3,"zone":"a""#).await;
    put(
        &etcd,
        "10.0.0.2:80",
        r#","weight":1,"zone":"b","metadata":{"v":"2"}"#,
    )
    .await;
    put(&etcd, "10.0.0.3:80", r#","weight":1,"status":"draining""#).await;
    etcd.put("/services/hello/x", "garbage").await;

    let seen = on(&etcd, &["-o", "json", "resolve", "hello", "--pick", "400"])
        .await
        .succeeded()
        .json();
    let picked = |n: usize| seen["instances"][n]["picked"].as_u64().unwrap();
    assert_eq!((picked(0), picked(1), picked(2)), (300, 100, 0), "{seen}");
    assert_eq!(
        (&seen["unreadable"], &seen["balancer"]),
        (&1.into(), &"weighted".into())
    );
    let shown = on(&etcd, &["resolve", "hello"]).await.succeeded();
    assert!(shown.line("10.0.0.1:80").contains("75.0%"), "{shown:?}");
    assert!(
        shown.out.contains("1 entry that cannot be read"),
        "{shown:?}"
    );

    let only = [
        "-o",
        "json",
        "resolve",
        "hello",
        "--where",
        "v=2",
        "--balancer",
        "random",
    ];
    let seen = on(&etcd, &only).await.succeeded().json();
    assert_eq!(
        (
            &seen["instances"][0]["candidate"],
            &seen["instances"][1]["picked"]
        ),
        (&false.into(), &1000.into())
    );
    let one = [
        "-o",
        "json",
        "resolve",
        "hello",
        "--balancer",
        "consistent_hash",
        "--hash-key",
        "k",
        "--pick",
        "50",
    ];
    let seen = on(&etcd, &one).await.succeeded().json();
    let picked: Vec<_> = (0..3)
        .map(|n| seen["instances"][n]["picked"].as_u64().unwrap())
        .collect();
    assert!(picked.contains(&50), "{seen}");

    let nobody = on(&etcd, &["resolve", "nobody"]).await.failed();
    assert!(nobody.out.contains("nobody to call"), "{nobody:?}");
    let wrong = on(&etcd, &["resolve", "hello", "--balancer", "best"])
        .await
        .failed();
    assert!(wrong.err.contains("round_robin"), "{wrong:?}");
}

#[tokio::test]
async fn a_call_shows_each_attempt() {
    let etcd = Etcd::start().await;
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/bad", get(|| async { StatusCode::NOT_FOUND }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let well = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    put(&etcd, &well, "").await;

    let called = on(&etcd, &["call", "hello", "--body"]).await.succeeded();
    assert!(
        called
            .out
            .contains(&format!("attempt 1 at {well}: success")),
        "{called:?}"
    );
    assert!(
        called.out.contains("200 OK, 5 bytes") && called.out.ends_with("hello\n"),
        "{called:?}"
    );
    let called = on(&etcd, &["-o", "json", "call", "hello", "/bad"])
        .await
        .failed()
        .json();
    assert_eq!(
        (&called["status"], &called["attempts"][0]["outcome"]),
        (&"404 Not Found".into(), &"success".into())
    );

    // One that answers 503 only: each call ends at the other one.
    let busy = Router::new().fallback(|| async { StatusCode::SERVICE_UNAVAILABLE });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at_busy = listener.local_addr().unwrap().to_string();
    let other = tokio::spawn(async move { axum::serve(listener, busy).await });
    put(&etcd, &at_busy, "").await;
    let called = on(&etcd, &["-o", "jsonl", "call", "hello", "--count", "8"])
        .await
        .succeeded();
    let calls: Vec<serde_json::Value> = called
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(calls.len(), 8);
    let retried = calls
        .iter()
        .find(|call| call["attempts"].as_array().unwrap().len() > 1);
    let attempts = &retried.unwrap_or_else(|| panic!("{called:?}"))["attempts"];
    assert_eq!(attempts[0]["address"], *at_busy);
    assert_eq!(attempts[1]["address"], *well);
    server.abort();
    other.abort();
}

#[tokio::test]
async fn a_call_that_fails_says_why() {
    let etcd = Etcd::start().await;
    let nobody = on(&etcd, &["call", "hello", "--limit", "300ms"])
        .await
        .failed();
    assert!(nobody.out.contains("failed"), "{nobody:?}");
    let closed = StdListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    put(&etcd, &closed, "").await;
    let refused = on(&etcd, &["call", "hello", "--limit", "1s"])
        .await
        .failed();
    assert!(
        refused.out.contains("refused") || refused.out.contains("connect"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_health_of_a_grpc_server_is_asked_through_the_chain() {
    let etcd = Etcd::start().await;
    let (reporter, service) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    let server = tokio::spawn(server.serve_with_incoming(incoming));
    put(&etcd, &address, "").await;
    let called = on(&etcd, &["call", "hello", "--grpc"]).await.succeeded();
    assert!(called.out.contains("SERVING"), "{called:?}");
    reporter
        .set_service_status("search", tonic_health::ServingStatus::NotServing)
        .await;
    let called = on(&etcd, &["-o", "json", "call", "hello", "--grpc", "search"])
        .await
        .failed()
        .json();
    assert_eq!(called["status"], "NOT_SERVING");

    // The same as a check of `register`.
    let arguments = [
        "register",
        "--name",
        "checked",
        "--address",
        &address,
        "--check",
        "grpc:search",
    ];
    let running = crate::support::Running::on(
        &etcd,
        &[&arguments[..], &["--check-interval", "50ms"]].concat(),
    );
    running.says("NOT_SERVING").await;
    reporter
        .set_service_status("search", tonic_health::ServingStatus::Serving)
        .await;
    running.says("serving: checked").await;
    server.abort();
}
