//! Bodies and trailers, in both directions.

use crate::{client::Client, gateway::Gateway, upstream::Upstream};
use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
};
use futures::stream;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt, Channel, StreamBody};
use sd_tests::PATIENCE;
use std::convert::Infallible;
use tokio::time::timeout;

#[tokio::test]
async fn a_body_is_passed_on_while_it_is_sent() {
    let echo = Router::new().fallback(async |body: Body| body);
    let server = Upstream::start(echo).await;
    let gateway = Gateway::to(&server).await;
    for client in Client::both() {
        let (mut body, sent) = Channel::<Bytes>::new(1);
        let request = Request::post(gateway.uri("/hello/")).body(Body::new(sent));
        let answer = client.send(request.expect("a request")).await;
        let mut answer = answer.into_body();
        for part in ["one", "two", "three"] {
            // The next part is sent only after this one has come back.
            body.send_data(part.into()).await.expect("it is read");
            let frame = timeout(PATIENCE, answer.frame()).await.expect("in time");
            let data = frame.expect("a frame").expect("whole").into_data();
            assert_eq!(data.expect("data"), part);
        }
        drop(body);
        let end = timeout(PATIENCE, answer.collect()).await;
        let end = end.expect("in time").expect("whole");
        assert_eq!(end.to_bytes(), "");
    }
}

#[tokio::test]
async fn a_large_body_is_passed_on_whole() {
    let count = Router::new().fallback(async |body: Body| {
        let body = body.collect().await.expect("a whole body").to_bytes();
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        format!("{} {sum}", body.len())
    });
    let server = Upstream::start(count).await;
    let gateway = Gateway::to(&server).await;
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let sum: u64 = large.iter().map(|byte| u64::from(*byte)).sum();
    for client in Client::both() {
        let request = Request::put(gateway.uri("/hello/")).body(Body::from(large.clone()));
        let answer = client.answer(request.expect("a request")).await;
        assert_eq!(answer.body, format!("{} {sum}", large.len()));
    }
}

fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        "x-sum".parse().expect("a name"),
        HeaderValue::from_static(value),
    )])
}

/// A body of unknown length, which HTTP/1 sends in chunks.
fn with_trailers(text: &'static str, value: &'static str) -> Body {
    let frames = [
        Frame::data(Bytes::from(text)),
        Frame::trailers(trailers(value)),
    ];
    Body::new(StreamBody::new(stream::iter(
        frames.map(Ok::<_, Infallible>),
    )))
}

#[tokio::test]
async fn trailers_are_passed_on_both_ways() {
    let sums = Router::new().fallback(async |body: Body| {
        let body = body.collect().await.expect("a whole body");
        let is_right = body.trailers() == Some(&trailers("request"));
        let text = if is_right {
            "with trailers"
        } else {
            "without trailers"
        };
        let mut response = Response::new(with_trailers(text, "response"));
        let name = HeaderValue::from_static("x-sum");
        response.headers_mut().insert("trailer", name);
        response
    });
    let server = Upstream::start(sums).await;
    let gateway = Gateway::to(&server).await;
    for client in Client::both() {
        let request = Request::builder()
            .method(Method::POST)
            .uri(gateway.uri("/hello/"))
            .header("te", "trailers")
            .header("trailer", "x-sum")
            .body(with_trailers("body", "request"));
        let answer = client.send(request.expect("a request")).await;
        let body = answer.into_body().collect().await.expect("a whole body");
        assert_eq!(body.trailers(), Some(&trailers("response")));
        assert_eq!(body.to_bytes(), "with trailers");
    }
}
