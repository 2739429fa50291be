//! The proxy: passes requests on to services.

use crate::{
    directory::Directory,
    grpc_body::EndsWithStatus,
    headers::{Origin, remove_hop_by_hop},
    options::Options,
    refusal::Refusal,
    service::Service,
    tasks::Tasks,
    upgrade::Upgrade,
};
use axum::body::Body;
use http::{
    Extensions, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONTENT_TYPE, HOST, UPGRADE},
    uri::{Authority, PathAndQuery, Scheme},
};
use sd_core::{BoxError, Escaped};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tower::ServiceExt;

/// Passes requests on to the services of a directory.
pub(crate) struct Proxy {
    directory: Arc<Directory>,
    /// The service to call for the full name of a gRPC service.
    grpc: BTreeMap<String, String>,
    trusts_forwarded: bool,
    tasks: Tasks,
}

/// The client of a connection, in the extensions of its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Proxy {
    pub(crate) fn new(directory: Arc<Directory>, options: &Options, tasks: Tasks) -> Self {
        Self {
            directory,
            grpc: options.grpc.clone(),
            trusts_forwarded: options.trust_forwarded,
            tasks,
        }
    }

    /// Answers a request, mostly with the answer of a service.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response<Body> {
        if is_grpc(&request) {
            return match self.grpc_service(&request) {
                Ok(service) => self.pass_on_grpc(request, &service).await,
                Err(refusal) => refusal.into_grpc(),
            };
        }
        let answer = self.pass_on(request).await;
        answer.unwrap_or_else(Refusal::into_http)
    }

    /// The service that a gRPC request is for: by the gRPC service in its path, or else by the host.
    fn grpc_service(&self, request: &Request<Body>) -> Result<Arc<Service>, Refusal> {
        let uri = request.uri();
        let called = uri.path().trim_start_matches('/').split('/').next();
        let name = called.and_then(|called| self.grpc.get(called));
        match name.map(String::as_str).or_else(|| uri.host()) {
            Some(name) => self.directory.find(name),
            None => Err(Refusal::unknown("the request names no service")),
        }
    }

    async fn pass_on_grpc(&self, mut request: Request<Body>, service: &Service) -> Response<Body> {
        self.origin(&request, "").pass_on(request.headers_mut());
        // The authority is in the URI.
        request.headers_mut().remove(HOST);
        *request.extensions_mut() = Extensions::new();
        let channel = service.grpc().await.clone();
        match channel.oneshot(request).await {
            Ok(mut response) => {
                remove_hop_by_hop(response.headers_mut());
                response.map(|body| Body::new(EndsWithStatus(Some(body))))
            }
            Err(status) => status.into_http(),
        }
    }

    async fn pass_on(&self, mut request: Request<Body>) -> Result<Response<Body>, Refusal> {
        if request.method() == Method::CONNECT {
            return Err(Refusal::not_allowed("the gateway is no tunnel"));
        }
        let path = request.uri().path();
        let name = path
            .strip_prefix('/')
            .and_then(|path| path.split('/').next());
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Err(Refusal::unknown(
                "the path names no service: /NAME/path. /services lists those that there are",
            ));
        };
        let service = self.directory.find(&decoded(name))?;

        let prefix = path[..=name.len()].to_owned();
        let origin = self.origin(&request, &prefix);
        let upgrade = Upgrade::requested(&mut request);
        origin.pass_on(request.headers_mut());
        if let Some(upgrade) = &upgrade {
            upgrade.ask(request.headers_mut());
        }
        let uri = without(&prefix, request.uri(), service.authority());
        *request.uri_mut() = uri.map_err(|error| {
            Refusal::unknown(format!("the path is not one: {}", Escaped(&error)))
        })?;
        *request.extensions_mut() = Extensions::new();

        let answered = service.http().await.request(request).await;
        let response = answered.map_err(|error| Refusal::no_answer(service.name(), &error))?;
        self.answer_of(&service, response.map(Body::new), upgrade)
    }

    /// What the client gets of the answer of a service.
    fn answer_of(
        &self,
        service: &Service,
        mut response: Response<Body>,
        upgrade: Option<Upgrade>,
    ) -> Result<Response<Body>, Refusal> {
        let protocol = response.headers().get(UPGRADE).cloned();
        remove_hop_by_hop(response.headers_mut());
        // That of the connection to the service.
        *response.version_mut() = Version::default();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(upgrade), Some(protocol)) = (upgrade, protocol) else {
                let name = service.name();
                return Err(Refusal::bad_gateway(format!(
                    "{name}: it has changed the protocol without being asked"
                )));
            };
            upgrade.connect(&mut response, protocol, &self.tasks);
        }
        *response.extensions_mut() = Extensions::new();
        Ok(response)
    }

    fn origin<'p>(&self, request: &Request<Body>, prefix: &'p str) -> Origin<'p> {
        let peer = request.extensions().get::<Peer>();
        let authority = request.uri().authority();
        let authority = authority.and_then(|it| HeaderValue::try_from(it.as_str()).ok());
        Origin {
            client: peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip()),
            version: request.version(),
            host: authority.or_else(|| request.headers().get(HOST).cloned()),
            prefix,
            is_trusted: self.trusts_forwarded,
        }
    }
}

/// Whether it is gRPC. Over HTTP/1 there is no such thing.
fn is_grpc(request: &Request<Body>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    let rest = content_type.and_then(|it| it.as_bytes().strip_prefix(b"application/grpc"));
    // Not application/grpc-web.
    let is_grpc = rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')));
    is_grpc && request.version() == Version::HTTP_2
}

/// The name that is written so in a path.
fn decoded(segment: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8();
    decoded.map_or_else(|_| segment.to_owned(), Into::into)
}

/// The URI of the request at the service.
fn without(prefix: &str, uri: &Uri, authority: &Authority) -> Result<Uri, BoxError> {
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let rest = path.get(prefix.len()..).unwrap_or_default();
    let rest = match rest.starts_with('/') {
        true => PathAndQuery::try_from(rest)?,
        false => PathAndQuery::try_from(format!("/{rest}"))?,
    };
    let uri = Uri::builder().scheme(Scheme::HTTP);
    let uri = uri.authority(authority.clone()).path_and_query(rest);
    Ok(uri.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_taken_off_the_path() {
        for (path, expected) in [
            ("/hello/greeting?x=1", "http://hello/greeting?x=1"),
            ("/hello/", "http://hello/"),
            ("/hello", "http://hello/"),
            ("/hello?x=1", "http://hello/?x=1"),
            ("/hello//a/../b%2F", "http://hello//a/../b%2F"),
        ] {
            let uri = without(
                "/hello",
                &path.parse().expect(path),
                &Authority::from_static("hello"),
            );
            assert_eq!(uri.expect(path), expected);
        }
    }

    #[test]
    fn grpc_is_told_by_the_version_and_the_content_type() {
        let is_grpc_with = |version, content_type: &str| {
            let request = Request::post("/")
                .version(version)
                .header(CONTENT_TYPE, content_type);
            is_grpc(&request.body(Body::empty()).expect("a request"))
        };
        for content_type in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x",
        ] {
            assert!(
                is_grpc_with(Version::HTTP_2, content_type),
                "{content_type}"
            );
            assert!(
                !is_grpc_with(Version::HTTP_11, content_type),
                "{content_type}"
            );
        }
        for content_type in ["application/grpc-web", "application/json", ""] {
            assert!(
                !is_grpc_with(Version::HTTP_2, content_type),
                "{content_type}"
            );
        }
    }
}
