//! ReqwestService: calls the instances of a service with reqwest.

mod builder;
mod target;

pub use builder::ReqwestServiceBuilder;
pub use target::ReqwestTarget;

use super::{
    error::HttpError,
    protocol::{Http, RequestTimeout},
};
use crate::{
    call::{Built, CallerBuilder},
    target::ResolvedTarget,
};
use futures::future::BoxFuture;
use reqwest::{Body, Request, Response, ResponseBuilderExt, Url};
use sd_core::{
    Balancer, EndpointSource, NoEndpoints, Pick, PickContext, ReachableStatus, Source,
    StatusReceiver,
};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tower::Service;

/// A client of all instances of a service for requests of reqwest. Cheap to clone.
///
/// It behaves as [`HttpService`](crate::HttpService) does, and has one `reqwest::Client` for each
/// endpoint, with reqwest's own TLS, compression and cookies. Choose [`HttpService`](crate::HttpService)
/// where these are not needed: it costs less, and can upgrade connections.
///
/// ```
/// use reqwest::{Method, Request};
/// use sd_core::{Instancer, Prefix};
/// use sd_memory::Registry;
/// use sd_tower::ReqwestService;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let registry = Registry::new().client();
/// let instancer = Instancer::new(registry, Prefix::new("/services/hello")?);
/// let hello = ReqwestService::builder(instancer)
///     .client(|client| client.user_agent("greetings"))
///     .build();
/// # async fn call(hello: ReqwestService) -> Result<(), Box<dyn std::error::Error>> {
/// let request = Request::new(Method::GET, "http://hello/greeting".parse()?);
/// let text = hello.execute(request).await?.error_for_status()?.text().await?;
/// # Ok(())
/// # }
/// # Ok(())
/// # }
/// ```
///
/// To build a request, use `reqwest::Client::get` and so on, and end with `build` instead of `send`: that
/// client does not send it.
///
/// # Differences
/// - The host of a URL must be a name, and the URL must have no port, since reqwest would go there.
/// - Redirects are not followed: each would have to pick an endpoint, and a request that failed after
///   one would seem not to be executed. Proxies are not used.
/// - [`Request::timeout`] is the deadline of the whole call. A timeout of the client is for one
///   attempt.
/// - An endpoint that cannot be connected to is tried in the background by TCP only, without TLS.
#[derive(Clone)]
pub struct ReqwestService(Arc<Built<ReqwestTarget, Http>>);

/// The endpoints of a [`ReqwestService`]: what its [balancer](ReqwestServiceBuilder::balancer) is made
/// over.
pub type ReqwestEndpoints = Arc<dyn EndpointSource<Target = ReqwestTarget>>;

impl ReqwestService {
    /// Calls the instances of `source`, with the default options.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: impl Source) -> Self {
        Self::builder(source).build()
    }

    /// Calls the instances of `source`, with other options.
    pub fn builder(source: impl Source) -> ReqwestServiceBuilder {
        ReqwestServiceBuilder::new(CallerBuilder::new(source))
    }

    /// Calls the service that a [target string](crate::Target) names, with its options. See
    /// [`HttpService::of`](crate::HttpService::of).
    pub fn of(target: ResolvedTarget) -> ReqwestServiceBuilder {
        ReqwestServiceBuilder::new(CallerBuilder::of(target))
    }

    /// Sends a request. Dropping the future ends it.
    ///
    /// # Errors
    /// [`HttpError`]. A response is none, whatever its status. If the body of a response breaks off,
    /// the `HttpError` is a source of reqwest's error.
    pub async fn execute(&self, mut request: Request) -> Result<Response, HttpError> {
        check(request.url())?;
        let url = request.url().clone();
        let timeout = request.timeout_mut().take();
        let mut request =
            http::Request::<Body>::try_from(request).map_err(HttpError::invalid_request)?;
        if let Some(timeout) = timeout {
            request.extensions_mut().insert(RequestTimeout(timeout));
        }
        let caller = &self.0.caller;
        let mut response = caller.answer(&caller.begin(request)).await?;
        let (url, ()) = http::Response::builder()
            .url(url)
            .body(())
            .map_err(HttpError::invalid_request)?
            .into_parts();
        response.extensions_mut().extend(url.extensions);
        Ok(response.map(Body::wrap).into())
    }

    /// The endpoints that can be connected to, before what the balancer makes of them.
    pub fn endpoints(&self) -> &ReqwestEndpoints {
        &self.0.endpoints
    }

    /// Follows which endpoints can be connected to, and why others cannot.
    pub fn reachable(&self) -> StatusReceiver<ReachableStatus> {
        self.0.reachable.clone()
    }

    /// Waits until there is an endpoint to call, without limit; `tokio::time::timeout` sets one.
    /// Requests need not wait for it. Cancellation safe.
    ///
    /// # Errors
    /// Why there is none, if that [cannot pass](NoEndpoints::is_transient).
    pub async fn ready(&self) -> Result<(), NoEndpoints> {
        self.0.caller.ready().await
    }
}

/// Whether reqwest lets us decide where to send a request with this URL.
fn check(url: &Url) -> Result<(), HttpError> {
    let fault = match url {
        url if !["http", "https"].contains(&url.scheme()) => "its scheme is neither http nor https",
        url if url.domain().is_none() => "the host of its URL is an address instead of a name",
        url if url.port().is_some() => "its URL has a port, which is for the endpoint to say",
        _ => return Ok(()),
    };
    Err(HttpError::invalid_request(fault))
}

/// Picks what a request would be sent to, to look at it.
impl Balancer for ReqwestService {
    type Target = ReqwestTarget;

    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<ReqwestTarget>, NoEndpoints> {
        self.0.caller.balancer().pick(context)
    }

    fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.caller.balancer().versions()
    }
}

impl Service<Request> for ReqwestService {
    type Response = Response;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<Response, HttpError>>;

    /// Always ready: a request that cannot be sent fails by itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { service.execute(request).await })
    }
}

impl fmt::Debug for ReqwestService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestService")
            .field("endpoints", &self.0.endpoints.endpoints())
            .finish_non_exhaustive()
    }
}
