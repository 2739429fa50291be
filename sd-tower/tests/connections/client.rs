//! What the tests call with, and wait with.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use sd_core::{Backoff, BoxError, Connectable, Connectivity, ErrorChain};
use sd_tower::{ConnectError, ConnectErrorKind, ConnectOptions, Connection, Http2Options};
use std::{net::SocketAddr, time::Duration};
use tower::{Service, ServiceExt};

pub(crate) type Body = Empty<Bytes>;

/// Waits, but not for ever.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    let done = tokio::time::timeout(limit, work).await;
    done.expect("what was waited for did not happen")
}

/// Connects again soon.
pub(crate) fn soon() -> ConnectOptions {
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
    ConnectOptions::new()
        .backoff(backoff)
        .timeout(Duration::from_secs(5))
}

/// Does not connect again after a failure while the test runs.
pub(crate) fn once() -> ConnectOptions {
    let day = Duration::from_secs(24 * 60 * 60);
    ConnectOptions::new()
        .backoff(Backoff::new(day, day))
        .timeout(Duration::from_secs(5))
}

pub(crate) fn connect(address: SocketAddr, options: ConnectOptions) -> Connection<Body> {
    Connection::new(&address.to_string(), options, Http2Options::new()).unwrap()
}

pub(crate) async fn get(
    connection: &Connection<Body>,
    path: &str,
) -> Result<Response<Incoming>, BoxError> {
    let request = Request::get(path).body(Empty::new()).unwrap();
    in_time(connection.clone().oneshot(request)).await
}

/// The text of the answer.
pub(crate) async fn text(connection: &Connection<Body>, path: &str) -> Result<String, BoxError> {
    read(get(connection, path).await?).await
}

pub(crate) async fn read(response: Response<Incoming>) -> Result<String, BoxError> {
    let body = in_time(response.into_body().collect()).await?;
    Ok(String::from_utf8(body.to_bytes().into())?)
}

/// Waits for a state.
pub(crate) async fn until(
    target: &impl Connectable,
    fits: impl FnMut(&Connectivity) -> bool,
) -> Connectivity {
    let mut states = target.connectivity();
    in_time(states.wait_for(fits)).await.unwrap().clone()
}

pub(crate) async fn ready(target: &impl Connectable) {
    until(target, |state| matches!(state, Connectivity::Ready)).await;
}

/// Waits until it is failing, and returns why.
pub(crate) async fn failing(target: &impl Connectable) -> ConnectError {
    match until(target, Connectivity::is_failing).await {
        Connectivity::Failing { cause, .. } => {
            cause.downcast_ref::<ConnectError>().unwrap().clone()
        }
        state => panic!("{state:?}"),
    }
}

/// The kind of an error that must be a `ConnectError`.
pub(crate) fn kind(error: &BoxError) -> ConnectErrorKind {
    match error.downcast_ref::<ConnectError>() {
        Some(error) => error.kind(),
        None => panic!("no ConnectError: {}", ErrorChain(&**error)),
    }
}

pub(crate) fn timed_out(kind: ConnectErrorKind) -> &'static str {
    match kind {
        ConnectErrorKind::TimedOut { step, .. } => step,
        kind => panic!("{kind:?}"),
    }
}

/// Asserts that the service is ready at any time.
pub(crate) async fn assert_ready(connection: &mut Connection<Body>) {
    std::future::poll_fn(|cx| connection.poll_ready(cx))
        .await
        .unwrap();
}
