//! Which service gets a request, and as what.

use crate::{
    client::{Answer, Client, send_raw},
    gateway::{Gateway, register},
    upstream::Upstream,
};
use axum::Router;
use http::{StatusCode, Uri};
use sd_tests::{Etcd, PATIENCE, eventually};

/// A server that answers what it was asked for.
async fn asked() -> Upstream {
    Upstream::start(Router::new().fallback(async |uri: Uri| uri.to_string())).await
}

#[tokio::test]
async fn a_path_goes_to_the_service_of_its_first_segment_without_it() {
    let (hello, users) = (asked().await, Upstream::saying("users").await);
    let options = [
        format!("--fixed=hello={}", hello.address()),
        format!("--fixed=two words={}", users.address()),
    ];
    let gateway = Gateway::start(&options.each_ref().map(String::as_str)).await;
    for client in Client::both() {
        for (path, expected) in [
            ("/hello/greeting?x=1&y=/a", "/greeting?x=1&y=/a"),
            ("/hello", "/"),
            ("/hello?x=1", "/?x=1"),
            ("/hello/a//b/..%2Fc", "/a//b/..%2Fc"),
            ("/two%20words/", "users"),
        ] {
            let answer = client.get(&gateway.uri(path)).await;
            assert_eq!((answer.status, &*answer.body), (StatusCode::OK, expected));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_answered_with_the_reason() {
    let etcd = Etcd::start().await;
    let gateway = Gateway::on(&etcd).await;
    let crashed = Upstream::saying("hello").await;
    let left = Upstream::saying("hello").await;
    register(&etcd, "crashed", &crashed).await;
    let key = register(&etcd, "left", &left).await;
    gateway.knows("left", 1).await;
    gateway.knows("crashed", 1).await;
    drop(crashed);
    etcd.delete(&*key).await;
    gateway.knows("left", 0).await;

    let client = Client::http1();
    let answer = client.get(&gateway.uri("/nobody/x")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.body, "404 Not Found: there is no service nobody\n");

    // Its instances may not be known to be gone in the same moment.
    let uri = gateway.uri("/left/x");
    let get = || client.get(&uri);
    let is_refused = |answer: &Answer| answer.status != StatusCode::OK;
    let answer = eventually(PATIENCE, "nobody to call", get, is_refused).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer
            .body
            .contains("no endpoints: no instance is registered"),
        "{answer:?}"
    );

    let answer = client.get(&gateway.uri("/crashed/x")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.body.contains("refused"), "{answer:?}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_a_timeout() {
    let silent = Upstream::start(Router::new().fallback(std::future::pending::<()>)).await;
    let fixed = format!("hello={}", silent.address());
    let gateway = Gateway::start(&["--fixed", &fixed, "--answer-timeout", "0.1"]).await;
    let request = http::Request::post(gateway.uri("/hello/"));
    let request = request.body(axum::body::Body::empty()).expect("a request");
    let answer = Client::http1().answer(request).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(answer.body.contains("no answer within 100ms"), "{answer:?}");
}

#[tokio::test]
async fn an_unknown_registry_is_no_unknown_service() {
    let etcd = Etcd::start().await;
    etcd.kill();
    let gateway = Gateway::on(&etcd).await;
    let get = || async { Client::http1().get(&gateway.uri("/hello/")).await };
    let says_why = |answer: &Answer| answer.body.contains("unavailable");
    let answer = eventually(PATIENCE, "the reason", get, says_why).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(gateway.status().await["registry"]["state"], "unknown");
}

#[tokio::test]
async fn what_asks_for_no_path_reaches_nobody() {
    let server = Upstream::saying("reached").await;
    let gateway = Gateway::to(&server).await;
    let address = server.address();
    for (line, expected) in [
        (format!("CONNECT {address} HTTP/1.1"), "405 "),
        ("CONNECT /hello/ HTTP/1.1".into(), "405 "),
        ("OPTIONS * HTTP/1.1".into(), "404 "),
        (format!("GET http://{address}/ HTTP/1.1"), "307 "),
        (format!("GET http://{address}/x HTTP/1.1"), "404 "),
    ] {
        let request = format!("{line}\r\nhost: {address}\r\n\r\n");
        let (_, head) = send_raw(gateway.address(), &request).await;
        assert_eq!(head.get(9..13), Some(expected), "{line}: {head}");
    }
}
