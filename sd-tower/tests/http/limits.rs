//! Limits of time, and nobody to call.

use crate::{
    client::*,
    server::{Server, instancer, register},
};
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use sd_core::{BoxError, NoEndpoints, RetryError};
use sd_memory::Registry;
use sd_tower::{AttemptError, CallPolicy, HttpErrorKind, HttpService, RequestBody};
use std::time::Duration;
use tokio::time::Instant;
use tower::service_fn;

/// A service in this process that never ends the answer to `/endless`, and begins no other one.
async fn hanging(policy: CallPolicy<StatusCode>) -> HttpService {
    let builder = HttpService::builder(instances(["a:80"])).in_process(|_| {
        Ok(service_fn(|request: Request<RequestBody>| async move {
            if request.uri().path() != "/endless" {
                std::future::pending::<()>().await;
            }
            let first = async { Ok::<_, BoxError>(Frame::data(Bytes::from("first"))) };
            let endless = futures::stream::once(first).chain(futures::stream::pending());
            Ok::<_, BoxError>(Response::new(StreamBody::new(endless)))
        }))
    });
    ready(builder.policy(policy), 1).await
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_call_is_for_the_head_and_the_body_of_all_attempts() {
    let policy = CallPolicy::new().timeout(Duration::from_secs(2));
    let hello = hanging(policy.clone()).await;
    let begun = Instant::now();

    let mut body = hello.request(get("/endless")).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::TimedOut);
    assert_eq!(error.to_string(), "the call has not ended within 2s");
    assert_eq!(begun.elapsed(), Duration::from_secs(2));

    let mut request = get("/a");
    let per_try = policy.per_try_timeout(Duration::from_millis(900));
    request.extensions_mut().insert(per_try);
    let error = hello.request(request).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::TimedOut);
    let attempts: &RetryError<AttemptError> = source_of(&error).unwrap();
    assert_eq!(attempts.attempts_made(), 3, "{error}");
    assert_eq!(begun.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_without_a_deadline_too() {
    let hello = hanging(CallPolicy::new()).await;
    let mut body = hello.request(get("/endless")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let longer = tokio::time::timeout(Duration::from_secs(60), body.frame());
    assert!(longer.await.is_err(), "the body may take its time");

    let begun = Instant::now();
    let error = hello.request(post("/a", "b")).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::TimedOut);
    let attempts: &RetryError<AttemptError> = source_of(&error).unwrap();
    assert_eq!(
        attempts.attempts_made(),
        1,
        "a POST that was sent is not repeated"
    );
    assert!(begun.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_take_its_time_to_send() {
    let builder = HttpService::builder(instances(["a:80"])).in_process(|_| {
        Ok(service_fn(|request: Request<RequestBody>| async move {
            let body = request.into_body().collect().await?;
            Ok::<_, BoxError>(Response::new(Full::new(body.to_bytes())))
        }))
    });
    let hello = ready(builder, 1).await;
    let slowly = futures::stream::iter(["first ", "second ", "third"]).then(|text| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, BoxError>(Frame::data(Bytes::from(text)))
    });
    let body = StreamBody::new(slowly).boxed_unsync();
    let response = hello
        .request(request(Method::POST, "/a", body))
        .await
        .unwrap();
    assert_eq!(read(response).await.unwrap(), "first second third");
}

#[tokio::test]
async fn nobody_to_call_is_an_error_at_once_with_the_reason() {
    let hello = HttpService::new(instances::<&str>([]));
    let endpoints = hello.endpoints();
    let mut versions = sd_core::EndpointSource::versions(endpoints);
    let empty = |endpoints: &sd_tower::HttpEndpoints| {
        let endpoints = sd_core::EndpointSource::endpoints(endpoints);
        matches!(endpoints.non_empty(), Err(NoEndpoints::Empty))
    };
    in_time(versions.wait_for(|_| empty(endpoints)))
        .await
        .unwrap();
    let error = send(&hello, get("/a")).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::NoEndpoints);
    let why: &NoEndpoints = source_of(&error).unwrap();
    assert!(matches!(why, NoEndpoints::Empty));
    assert!(
        error.to_string().ends_with("no instance is registered"),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_may_wait_for_somebody_to_call() {
    let registry = Registry::new();
    let server = Server::start().await;
    let policy = CallPolicy::new().wait_for_endpoints(Duration::from_secs(20));
    let hello = HttpService::builder(instancer(&registry))
        .policy(policy)
        .build();
    let call = text(&hello, get("/a"));
    let address = server.address.to_string();
    let registered = async {
        tokio::task::yield_now().await;
        register(&registry, &address).await;
    };
    let (text, ()) = tokio::join!(call, registered);
    assert_eq!(text.unwrap(), address);
}
