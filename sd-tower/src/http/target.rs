//! What an HTTP service calls for an endpoint.

use super::{
    options::HttpOptions,
    upgrade::{UpgradableConnector, keep_if_upgraded},
};
use crate::{
    call::RequestBody,
    connection::{ConnectError, ConnectOptions, Connector},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{
    Method, Request, Response, Uri, Version,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body;
use http_body_util::{BodyExt, Either as EitherBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use sd_core::{BoxError, Connectable, Connectivity};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::watch;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

/// What an [`HttpService`](crate::HttpService) calls for an endpoint: a client with connections to
/// it, or a service in this process ([`in_process`](crate::HttpServiceBuilder::in_process)).
#[derive(Clone)]
pub struct HttpTarget(Kind);

#[derive(Clone)]
enum Kind {
    Remote(Arc<Remote>),
    InProcess(LocalService),
}

type LocalService = BoxCloneSyncService<Request<RequestBody>, Response<LocalBody>, BoxError>;
type LocalBody = UnsyncBoxBody<Bytes, BoxError>;

/// The body of a response of either.
pub(super) type TargetBody = EitherBody<Incoming, LocalBody>;

/// A client of one endpoint. With it, its connections are closed.
struct Remote {
    client: Client<UpgradableConnector, RequestBody>,
    connector: Connector,
    /// The address.
    authority: Authority,
    has_tls: bool,
    address_as_host: bool,
}

impl HttpTarget {
    pub(super) fn connect(
        address: &str,
        connect: ConnectOptions,
        http: &HttpOptions,
    ) -> Result<Self, BoxError> {
        let has_tls = connect.has_tls();
        let connector: Result<_, ConnectError> =
            Connector::with_versions(address, connect, http.versions);
        let connector = connector?;
        Ok(Self(Kind::Remote(Arc::new(Remote {
            client: http.client(UpgradableConnector(connector.clone())),
            connector,
            authority: address.parse()?,
            has_tls,
            address_as_host: http.address_as_host,
        }))))
    }

    /// A service in this process, which has to be ready without being asked.
    pub(super) fn in_process<S, B>(service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service
            .map_response(|response: Response<B>| {
                response.map(|body| body.map_err(Into::into).boxed_unsync())
            })
            .map_err(Into::into);
        Self(Kind::InProcess(BoxCloneSyncService::new(service)))
    }
}

impl Remote {
    async fn send(
        self: Arc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<Response<TargetBody>, BoxError> {
        self.complete(&mut request)?;
        let method = request.method().clone();
        let mut response = self.client.request(request).await?;
        keep_if_upgraded(&mut response, &method);
        Ok(response.map(EitherBody::Left))
    }

    /// Makes a request of any form one that a client can send: with a scheme and an authority, and
    /// of a version that fits every connection.
    fn complete(&self, request: &mut Request<RequestBody>) -> Result<(), BoxError> {
        *request.version_mut() = Version::HTTP_11;
        let is_connect = request.method() == Method::CONNECT;
        let replaces_host = self.address_as_host && !is_connect;
        if replaces_host {
            request.headers_mut().remove(HOST);
        }
        let uri = request.uri();
        if uri.scheme().is_some() && uri.authority().is_some() && !replaces_host {
            return Ok(());
        }
        let host = request.headers().get(HOST);
        let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme.get_or_insert(match self.has_tls {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        });
        if replaces_host {
            parts.authority = None;
        }
        (parts.authority).get_or_insert_with(|| host.unwrap_or_else(|| self.authority.clone()));
        (parts.path_and_query).get_or_insert_with(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(parts)?;
        Ok(())
    }
}

impl Service<Request<RequestBody>> for HttpTarget {
    type Response = Response<TargetBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<TargetBody>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.0 {
            Kind::Remote(_) => Poll::Ready(Ok(())),
            Kind::InProcess(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        match &mut self.0 {
            Kind::Remote(remote) => Box::pin(remote.clone().send(request)),
            Kind::InProcess(service) => {
                let response = service.call(request);
                Box::pin(async move { Ok(response.await?.map(EitherBody::Right)) })
            }
        }
    }
}

/// A service in this process is always ready.
impl Connectable for HttpTarget {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        match &self.0 {
            Kind::Remote(remote) => remote.connector.connectivity(),
            Kind::InProcess(_) => watch::channel(Connectivity::Ready).1,
        }
    }
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Remote(remote) => remote.connector.fmt(f),
            Kind::InProcess(_) => f.write_str("InProcess"),
        }
    }
}
