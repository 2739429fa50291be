//! What a service of reqwest calls for an endpoint.

use crate::{
    call::RequestBody,
    connection::{ConnectOptions, Connector},
};
use futures::future::BoxFuture;
use http::{Request, Response};
use reqwest::{
    Body, Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect, retry,
};
use sd_core::{BoxError, Connectable, Connectivity};
use std::{
    error::Error as StdError,
    fmt, io, iter,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{net::lookup_host, sync::watch};
use tower::Service;

/// What a [`ReqwestService`](crate::ReqwestService) calls for an endpoint: a client of reqwest, and
/// what is known of its connections.
#[derive(Clone)]
pub struct ReqwestTarget {
    client: Client,
    /// Knows whether the endpoint is failing. The client connects by itself.
    connector: Connector,
}

impl ReqwestTarget {
    pub(super) fn new(
        address: &str,
        connect: ConnectOptions,
        configure: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, BoxError> {
        let client = Client::builder().connect_timeout(connect.limit());
        let client = configure(client)
            .dns_resolver(FixedAddress(address.into()))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .build()?;
        Ok(Self {
            client,
            connector: Connector::new(address, connect)?,
        })
    }

    async fn send(self, request: Request<RequestBody>) -> Result<Response<Body>, BoxError> {
        if let Some(error) = self.connector.failure() {
            return Err(error.into());
        }
        let request = reqwest::Request::try_from(request.map(Body::wrap))?;
        match self.client.execute(request).await {
            Ok(response) => {
                self.connector.connected();
                Ok(response.into())
            }
            Err(error) if has_failed_to_connect(&error) => {
                Err(self.connector.failed(error.into()).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a connect was tried, and has failed. hyper-util says `is_connect` also of a request that
/// waited for the connection of another one, which was dropped.
fn has_failed_to_connect(error: &reqwest::Error) -> bool {
    let mut chain = iter::successors(error.source(), |&error| error.source());
    error.is_connect() && (error.is_timeout() || chain.any(|error| error.is::<io::Error>()))
}

/// Resolves each name to the address of the endpoint.
struct FixedAddress(Arc<str>);

impl Resolve for FixedAddress {
    fn resolve(&self, _: Name) -> Resolving {
        let address = self.0.clone();
        Box::pin(async move {
            let addresses: Vec<_> = lookup_host(&*address).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl Service<Request<RequestBody>> for ReqwestTarget {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

impl Connectable for ReqwestTarget {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        self.connector.connectivity()
    }
}

impl fmt::Debug for ReqwestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connector.fmt(f)
    }
}
