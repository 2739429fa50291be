//! Limits of time, and nobody to call.

use crate::{
    client::*,
    server::{Behaviour, Server, instancer, register},
};
use http_body_util::BodyExt;
use sd_core::{NoEndpoints, RetryError};
use sd_memory::Registry;
use sd_tower::{AttemptError, CallPolicy, HttpErrorKind, HttpService};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn the_time_of_a_call_is_for_the_head_and_the_body_of_all_attempts() {
    let server = Server::start().await;
    let policy = CallPolicy::new().timeout(SHORT);
    let hello = ready(service([&server]).policy_of("/endless", policy.clone()), 1).await;

    let mut body = send(&hello, get("/endless")).await.unwrap().into_body();
    let first = in_time(body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    let error = in_time(body.frame()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::TimedOut);
    assert_eq!(error.to_string(), "the call has not ended within 50ms");

    server.behave(Behaviour::NeverAnswers);
    let mut request = get("/a");
    request
        .extensions_mut()
        .insert(policy.per_try_timeout(SHORT / 5));
    let error = send(&hello, request).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::TimedOut);
    let attempts: &RetryError<AttemptError> = source_of(&error).unwrap();
    assert!(attempts.attempts_made() > 1, "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_without_a_deadline_too() {
    let server = Server::start().await;
    let policy = CallPolicy::new().answer_timeout(SHORT);
    let hello = ready(service([&server]).policy(policy), 1).await;
    let mut body = send(&hello, get("/endless")).await.unwrap().into_body();
    in_time(body.frame()).await.unwrap().unwrap();
    server.behave(Behaviour::NeverAnswers);
    let error = send(&hello, post("/a", "b")).await.unwrap_err();
    assert_eq!(error.kind(), HttpErrorKind::TimedOut);
    assert_eq!(
        server.received().len(),
        2,
        "a POST that was sent is not repeated"
    );
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
