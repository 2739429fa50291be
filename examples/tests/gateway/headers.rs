//! Headers that are not passed on, and those that are added.

use crate::{client::Client, gateway::Gateway, upstream::Upstream};
use axum::{Router, body::Body, response::IntoResponse};
use http::{HeaderMap, Request};

/// Answers with the headers that it got, and with some that concern its connection only.
async fn echo(headers: HeaderMap) -> impl IntoResponse {
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
        .collect();
    lines.sort();
    let headers = [
        ("connection", "x-secret"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "basic"),
        ("x-kept", "1"),
    ];
    (headers, lines.join("\n"))
}

#[tokio::test]
async fn headers_of_a_connection_end_at_the_gateway() {
    let server = Upstream::start(Router::new().fallback(echo)).await;
    let gateway = Gateway::to(&server).await;
    let request = Request::get(gateway.uri("/hello/"))
        .header("connection", "x-private, te")
        .header("x-private", "1")
        .header("keep-alive", "timeout=5")
        .header("proxy-authorization", "basic eHg=")
        .header("te", "trailers, gzip")
        .header("upgrade", "h2c")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-kept", "1")
        .body(Body::empty());
    let answer = Client::http1().answer(request.expect("a request")).await;
    let address = gateway.address();
    let expected = [
        &*format!("forwarded: for=127.0.0.1;host=\"{address}\";proto=http"),
        &*format!("host: {address}"),
        "te: trailers",
        "via: 1.1 gateway",
        "x-forwarded-for: 127.0.0.1",
        &*format!("x-forwarded-host: {address}"),
        "x-forwarded-prefix: /hello",
        "x-forwarded-proto: http",
        "x-kept: 1",
    ];
    assert_eq!(answer.body, expected.join("\n"));
    assert_eq!(answer.headers["x-kept"], "1");
    for name in ["connection", "x-secret", "keep-alive", "proxy-authenticate"] {
        assert!(!answer.headers.contains_key(name), "{answer:?}");
    }

    // The host of a request over HTTP/2 is in its :authority.
    let answer = Client::http2().get(&gateway.uri("/hello/")).await;
    let expected = format!("host: {address}\nvia: 2 gateway");
    assert!(answer.body.contains(&expected), "{answer:?}");
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_kept() {
    let server = Upstream::start(Router::new().fallback(echo)).await;
    let fixed = format!("hello={}", server.address());
    let gateway = Gateway::start(&["--fixed", &fixed, "--trust-forwarded"]).await;
    let request = Request::get(gateway.uri("/hello/"))
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-forwarded-proto", "https")
        .body(Body::empty());
    let answer = Client::http1().answer(request.expect("a request")).await;
    for expected in [
        "x-forwarded-for: 1.2.3.4, 127.0.0.1",
        "x-forwarded-proto: https",
    ] {
        assert!(answer.body.contains(expected), "{answer:?}");
    }
}
