//! What a channel calls for an endpoint.

use crate::{
    call::RequestBody,
    connection::{ConnectError, ConnectOptions, Connection, Http2Options},
};
use futures::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, Either},
};
use http::{Request, Response};
use http_body_util::Either as EitherBody;
use hyper::body::Incoming;
use sd_core::{BoxError, Connectable, Connectivity};
use std::{
    fmt,
    task::{Context, Poll},
};
use tokio::sync::watch;
use tonic::body::Body;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

/// What a [`Channel`](crate::Channel) calls for an endpoint: a connection to it, or a service in
/// this process ([`in_process`](crate::ChannelBuilder::in_process)).
#[derive(Clone)]
pub struct GrpcTarget(Kind);

#[derive(Clone)]
enum Kind {
    Remote(Connection<RequestBody>),
    InProcess(LocalService),
}

type LocalService = BoxCloneSyncService<Request<RequestBody>, Response<Body>, BoxError>;

/// The body of a response of either.
pub(super) type TargetBody = EitherBody<Incoming, Body>;

impl GrpcTarget {
    pub(super) fn connect(
        address: &str,
        connect: ConnectOptions,
        http2: Http2Options,
    ) -> Result<Self, ConnectError> {
        Ok(Self(Kind::Remote(Connection::new(
            address, connect, http2,
        )?)))
    }

    /// A service in this process, which has to be ready without being asked.
    pub(super) fn in_process<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let service = service
            .map_request(|request: Request<RequestBody>| request.map(Body::new))
            .map_err(Into::into);
        Self(Kind::InProcess(BoxCloneSyncService::new(service)))
    }
}

impl Service<Request<RequestBody>> for GrpcTarget {
    type Response = Response<TargetBody>;
    type Error = BoxError;
    type Future = Either<
        futures::future::MapOk<
            <Connection<RequestBody> as Service<Request<RequestBody>>>::Future,
            fn(Response<Incoming>) -> Response<TargetBody>,
        >,
        BoxFuture<'static, Result<Response<TargetBody>, BoxError>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.0 {
            Kind::Remote(connection) => connection.poll_ready(cx),
            Kind::InProcess(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        match &mut self.0 {
            Kind::Remote(connection) => Either::Left(
                (connection.call(request)).map_ok(|response| response.map(EitherBody::Left)),
            ),
            Kind::InProcess(service) => Either::Right(
                (service.call(request))
                    .map_ok(|response| response.map(EitherBody::Right))
                    .boxed(),
            ),
        }
    }
}

/// A service in this process is always ready.
impl Connectable for GrpcTarget {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        match &self.0 {
            Kind::Remote(connection) => connection.connectivity(),
            Kind::InProcess(_) => watch::channel(Connectivity::Ready).1,
        }
    }
}

impl fmt::Debug for GrpcTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Remote(connection) => connection.fmt(f),
            Kind::InProcess(_) => f.write_str("InProcess"),
        }
    }
}
