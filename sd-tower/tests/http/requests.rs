//! What goes out, and what comes back.

use crate::{
    client::*,
    server::{Server, empty, full},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use sd_core::BoxError;
use sd_memory::Registry;
use sd_tower::{HttpErrorKind, HttpOptions, HttpVersions};
use std::collections::BTreeMap;
use tower::ServiceExt;

#[tokio::test]
async fn requests_are_shared_by_all_instances() {
    let registry = Registry::new();
    let servers = [
        Server::register(&registry).await,
        Server::register(&registry).await,
        Server::register(&registry).await,
    ];
    let hello = registered(&registry, 3).await;
    let mut shares = BTreeMap::<String, usize>::new();
    for _ in 0..150 {
        *shares
            .entry(text(&hello, get("/a")).await.unwrap())
            .or_default() += 1;
        *shares
            .entry(text(&hello, post("/a", "b")).await.unwrap())
            .or_default() += 1;
    }
    assert_eq!(shares.len(), 3);
    assert!(shares.values().all(|share| *share > 50), "{shares:?}");
    let received = servers[0].received();
    let post = received.iter().find(|one| one.method == Method::POST);
    assert_eq!(post.unwrap().body, "b");
}

#[tokio::test]
async fn a_request_goes_out_as_it_is() {
    for (versions, version) in [
        (HttpVersions::Negotiated, Version::HTTP_11),
        (HttpVersions::Http1, Version::HTTP_11),
        (HttpVersions::Http2, Version::HTTP_2),
    ] {
        let server = Server::start().await;
        let options = HttpOptions::new().versions(versions);
        let hello = ready(service([&server]).http(options), 1).await;
        let mut request = request(Method::PATCH, "/a/b?c=d", full("e"));
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().insert("x-f", "g".parse().unwrap());
        text(&hello, request).await.unwrap();
        let received = server.only();
        assert_eq!(received.version, version);
        assert_eq!(received.method, Method::PATCH);
        assert_eq!(received.path, "/a/b");
        assert_eq!(received.host, "hello");
        assert_eq!(received.headers["x-f"], "g");
        assert_eq!(received.body, "e");
    }
}

#[tokio::test]
async fn what_a_uri_lacks_is_filled_in() {
    let server = Server::start().await;
    let hello = ready(service([&server]), 1).await;
    let request = || Request::get("/a").version(Version::HTTP_10);
    text(
        &hello,
        request()
            .header("host", "hello.example")
            .body(empty())
            .unwrap(),
    )
    .await
    .unwrap();
    // As a service under layers.
    let sent = hello.oneshot(request().body(empty()).unwrap());
    read(in_time(sent).await.unwrap()).await.unwrap();
    let received = server.received();
    assert_eq!(received[0].host, "hello.example");
    assert_eq!(received[1].host, server.address.to_string());
    assert_eq!(received[1].version, Version::HTTP_11);
}

#[tokio::test]
async fn the_address_may_be_the_host() {
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let server = Server::start().await;
        let options = HttpOptions::new().versions(versions).address_as_host(true);
        let hello = ready(service([&server]).http(options), 1).await;
        let mut request = get("/a");
        request
            .headers_mut()
            .insert("host", "hello".parse().unwrap());
        text(&hello, request).await.unwrap();
        assert_eq!(server.only().host, server.address.to_string());
    }
}

#[tokio::test]
async fn a_scheme_that_cannot_be_spoken_is_the_callers_fault() {
    let server = Server::start().await;
    let hello = ready(service([&server]), 1).await;
    for (uri, why) in [
        ("https://hello/a", "https, and no TLS is configured"),
        ("wss://hello/a", "neither http nor https"),
    ] {
        let request = Request::get(uri).body(empty()).unwrap();
        let error = send(&hello, request).await.unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::InvalidRequest);
        assert!(error.to_string().ends_with(why), "{error}");
    }
    text(&hello, get("/a")).await.unwrap();
}

#[tokio::test]
async fn large_bodies_are_streamed_both_ways_with_their_trailers() {
    for versions in [HttpVersions::Http1, HttpVersions::Http2] {
        let server = Server::start().await;
        let options = HttpOptions::new().versions(versions);
        let hello = ready(service([&server]).http(options), 1).await;
        const FRAMES: usize = 500;
        let frame = Bytes::from(vec![b'a'; 16 * 1024]);
        let frames = (0..FRAMES).map(move |_| Ok::<_, BoxError>(Frame::data(frame.clone())));
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "17".parse().unwrap());
        let frames = frames.chain([Ok(Frame::trailers(trailers))]);
        let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
        let mut request = request(Method::POST, "/echo", body);
        // HTTP/1 sends trailers that are announced, to who asks for them.
        request
            .headers_mut()
            .insert("trailer", "x-sum".parse().unwrap());
        request
            .headers_mut()
            .insert("te", "trailers".parse().unwrap());
        let mut body = send(&hello, request).await.unwrap().into_body();
        let (mut bytes, mut sum) = (0, None);
        while let Some(frame) = in_time(body.frame()).await {
            match frame.unwrap().into_data() {
                Ok(data) => bytes += data.len(),
                Err(frame) => sum = frame.into_trailers().unwrap().remove("x-sum"),
            }
        }
        assert_eq!(bytes, FRAMES * 16 * 1024);
        assert_eq!(sum.unwrap(), "17");
    }
}
