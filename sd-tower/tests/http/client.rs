//! What the tests call with, and wait with.

use crate::server::{Body, Server, empty, full, instancer};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use sd_core::{EndpointSource, FixedInstancer, Instance, Key};
use sd_memory::Registry;
use sd_tower::{HttpBody, HttpError, HttpService, HttpServiceBuilder};
use std::time::Duration;

/// Waits, but not for ever.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    let done = tokio::time::timeout(limit, work).await;
    done.expect("what was waited for did not happen")
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

pub(crate) fn instances<A: ToString>(addresses: impl IntoIterator<Item = A>) -> FixedInstancer {
    FixedInstancer::new(addresses.into_iter().map(|address| {
        let address = address.to_string();
        Instance::new(Key::new(format!("/hello/{address}")).unwrap(), address)
    }))
}

/// A service of these servers.
pub(crate) fn service<'a>(servers: impl IntoIterator<Item = &'a Server>) -> HttpServiceBuilder {
    let servers = servers.into_iter().map(|server| server.address);
    HttpService::builder(instances(servers))
}

/// Builds a service, and waits until it has so many endpoints.
pub(crate) async fn ready(builder: HttpServiceBuilder, count: usize) -> HttpService {
    let service = builder.build();
    let endpoints = service.endpoints();
    let mut versions = endpoints.versions();
    let ready = versions.wait_for(|_| endpoints.endpoints().len() == count);
    in_time(ready).await.unwrap();
    // What the balancer makes of them follows.
    in_time(service.ready()).await.unwrap();
    service
}

/// A service of all that is registered under `hello`.
pub(crate) async fn registered(registry: &Registry, count: usize) -> HttpService {
    ready(HttpService::builder(instancer(registry)), count).await
}

pub(crate) fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, empty())
}

pub(crate) fn post(path: &str, text: &'static str) -> Request<Body> {
    request(Method::POST, path, full(text))
}

pub(crate) fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    let uri = format!("http://hello{path}");
    let request = Request::builder().method(method).uri(uri);
    request.body(body).unwrap()
}

pub(crate) async fn send(
    service: &HttpService,
    request: Request<Body>,
) -> Result<Response<HttpBody>, HttpError> {
    in_time(service.request(request)).await
}

/// The text of the answer.
pub(crate) async fn text(
    service: &HttpService,
    request: Request<Body>,
) -> Result<String, HttpError> {
    read(send(service, request).await?).await
}

pub(crate) async fn read(response: Response<HttpBody>) -> Result<String, HttpError> {
    let body = in_time(response.into_body().collect()).await?;
    Ok(String::from_utf8(body.to_bytes().into()).unwrap())
}

/// The error among the sources of another one.
pub(crate) fn source_of<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    chain.find_map(|error| error.downcast_ref())
}
