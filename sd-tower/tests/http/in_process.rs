//! Services in this process, in paused time.

use crate::{
    client::*,
    server::{Body, empty, full},
};
use axum::{Router, routing};
use http::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use sd_core::{BoxError, RoundRobin};
use sd_tower::{CallPolicy, HttpService, RequestBody};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::time::Instant;
use tower::service_fn;

#[tokio::test(start_paused = true)]
async fn a_router_of_axum_is_called_as_if_it_were_far_away() {
    let builder = HttpService::builder(instances(["a:80", "b:80"])).in_process(|instance| {
        let address = instance.address().to_owned();
        let echo = async |body: String| body;
        Ok(Router::new()
            .route("/from", routing::get(async move || address))
            .route("/echo", routing::post(echo)))
    });
    let hello = ready(builder.balancer(RoundRobin::new), 2).await;
    let mut from = [
        text(&hello, get("/from")).await.unwrap(),
        text(&hello, get("/from")).await.unwrap(),
    ];
    from.sort();
    assert_eq!(from, ["a:80", "b:80"]);
    assert_eq!(text(&hello, post("/echo", "body")).await.unwrap(), "body");
    let missing = send(&hello, get("/missing")).await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

/// A service that refuses `refusals` times, with this `Retry-After`.
async fn refusing(
    refusals: usize,
    retry_after: String,
    policy: CallPolicy<StatusCode>,
) -> HttpService {
    let calls = Arc::new(AtomicUsize::new(0));
    let builder = HttpService::builder(instances(["a:80"])).in_process(move |_| {
        let (calls, retry_after) = (calls.clone(), retry_after.clone());
        Ok(service_fn(move |_: Request<RequestBody>| {
            let mut response = Response::new(empty());
            if calls.fetch_add(1, Ordering::Relaxed) < refusals {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                let value = retry_after.parse().unwrap();
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            async { Ok::<_, BoxError>(response) }
        }))
    });
    ready(builder.policy(policy), 1).await
}

async fn status_and_time(service: &HttpService) -> (u16, Duration) {
    let begun = Instant::now();
    let response = service.request(get("/a")).await.unwrap();
    (response.status().as_u16(), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for_if_there_is_time() {
    let policy = CallPolicy::new();
    let hello = refusing(2, "3".into(), policy.clone()).await;
    assert_eq!(status_and_time(&hello).await, (200, Duration::from_secs(6)));

    let past = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let hello = refusing(2, past, policy.clone()).await;
    assert_eq!(status_and_time(&hello).await, (200, Duration::ZERO));

    let hello = refusing(1, "3600".into(), policy.clone()).await;
    assert_eq!(status_and_time(&hello).await, (503, Duration::ZERO));

    let hello = refusing(
        1,
        "5".into(),
        policy.clone().timeout(Duration::from_secs(4)),
    )
    .await;
    assert_eq!(status_and_time(&hello).await, (503, Duration::ZERO));

    let long = policy.timeout(Duration::from_secs(3601));
    let hello = refusing(1, "3600".into(), long).await;
    assert_eq!(
        status_and_time(&hello).await,
        (200, Duration::from_secs(3600))
    );
}

/// hyper's error of a request on a connection that has closed meanwhile.
async fn canceled() -> BoxError {
    let (client, server) = tokio::io::duplex(64);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(client))
            .await
            .unwrap();
    let sent = sender.try_send_request(get("/a"));
    drop((connection, server));
    let error = sent.await.unwrap_err().into_error();
    assert!(error.is_canceled(), "{error:?}");
    error.into()
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_connection_closed_before_it_was_written_is_sent_to_another() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let builder = HttpService::builder(instances(["a:80", "b:80"])).in_process(move |instance| {
        let (is_closing, calls) = (instance.address() == "a:80", counter.clone());
        Ok(service_fn(move |_: Request<RequestBody>| {
            let calls = calls.clone();
            async move {
                if is_closing {
                    return Err(canceled().await);
                }
                calls.fetch_add(1, Ordering::Relaxed);
                Ok(Response::new(full("served")))
            }
        }))
    });
    let hello = ready(builder.balancer(RoundRobin::new), 2).await;
    for _ in 0..4 {
        let request = request(Method::POST, "/a", full("once"));
        assert_eq!(text(&hello, request).await.unwrap(), "served");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}
