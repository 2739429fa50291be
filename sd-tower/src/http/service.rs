//! HttpService: calls the instances of a service over HTTP.

use super::{
    builder::HttpServiceBuilder,
    error::HttpError,
    protocol::Http,
    target::{HttpTarget, TargetBody},
};
use crate::{
    call::{Built, CallerBuilder, ResponseBody},
    target::ResolvedTarget,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, Uri, uri::Scheme};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sd_core::{
    Balancer, BoxError, EndpointSource, NoEndpoints, Pick, PickContext, ReachableStatus, Source,
    StatusReceiver,
};
use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tower::Service;

/// An HTTP client of all instances of a service. Cheap to clone.
///
/// Each request picks an endpoint when it is made. [`HttpService::new`] has the defaults,
/// [`HttpService::builder`] the options. It is a [`tower::Service`] of requests with any body, so that
/// it fits under tower's layers, and [`request`](Self::request) sends one without.
///
/// ```
/// use http::Request;
/// use http_body_util::Empty;
/// use sd_core::{Instancer, Prefix};
/// use sd_memory::Registry;
/// use sd_tower::HttpService;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let registry = Registry::new().client();
/// let instancer = Instancer::new(registry, Prefix::new("/services/hello")?);
/// let hello = HttpService::new(instancer);
/// # async fn call(hello: HttpService) -> Result<(), Box<dyn std::error::Error>> {
/// let request = Request::get("http://hello/greeting").body(Empty::new())?;
/// let response = hello.request(request).await?;
/// # Ok(())
/// # }
/// # Ok(())
/// # }
/// ```
///
/// # A request
/// - **goes out as it is**: only where it is sent is decided here. Its `Host` and `:authority` are
///   those of its URI, whichever endpoint is picked, unless [told
///   otherwise](crate::HttpOptions::address_as_host). `https` means TLS, to [one
///   name](crate::Tls::with_server_name) or the host of the URI. What a URI lacks is filled in, so that
///   requests which a server has received can be passed on: the scheme from whether there is TLS, the
///   host from the `Host` header or else the address. Its version of HTTP does not matter.
/// - **picks** an endpoint that can be connected to: [`Reachable`](sd_core::Reachable) below
///   [`Ejection`](sd_core::Ejection) below [`LeastLoaded`](sd_core::LeastLoaded), unless [told
///   otherwise](HttpServiceBuilder::balancer).
/// - **lasts** until the body of its response has ended or was dropped. An answer of 500 and more is
///   a failure of the endpoint, except 501 and 505; 429 says that it is overloaded.
/// - **has one deadline** over all attempts, that of its [policy](HttpServiceBuilder::policy). Without
///   one it waits for the head of the response at most [so long](crate::CallPolicy::answer_timeout)
///   after the request was complete. The server is told nothing of it.
/// - **is made again** on another endpoint if [nothing of it was executed](crate::nothing_executed).
///   Also, if its method is idempotent, when the connection broke before an answer, or the answer was
///   502, 503 or 504, after the time that `Retry-After` asks for. Its body is sent again from the
///   start if no more of it was sent than [is kept](crate::CallPolicy::replay_limit).
///
/// # Upgrades
/// Those of HTTP/1 (WebSockets, `CONNECT`) work as with hyper: `hyper::upgrade::on` takes the connection
/// from the response. The call then lasts until that connection is closed, so that a balancer which
/// counts calls counts it; no deadline ends it. An extended `CONNECT` over HTTP/2 lasts until the
/// response's body has ended, which is at once.
///
/// # How long it lives
/// It follows its source, and keeps a client for each endpoint, until the last clone and the last call
/// are dropped. Responses go on after their instance is removed from the registry.
#[derive(Clone)]
pub struct HttpService(Arc<Shared>);

struct Shared {
    called: Built<HttpTarget, Http>,
    has_https: bool,
    is_known: AtomicBool,
}

/// The endpoints of an [`HttpService`]: what its [balancer](HttpServiceBuilder::balancer) is made over.
pub type HttpEndpoints = Arc<dyn EndpointSource<Target = HttpTarget>>;

impl HttpService {
    /// Calls the instances of `source`, with the default options.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: impl Source) -> Self {
        Self::builder(source).build()
    }

    /// Calls the instances of `source`, with other options.
    pub fn builder(source: impl Source) -> HttpServiceBuilder {
        HttpServiceBuilder::new(CallerBuilder::new(source))
    }

    /// Calls the service that a [target string](crate::Target) names, with its options.
    ///
    /// ```no_run
    /// use sd_tower::{HttpService, ResolveError, Resolvers};
    ///
    /// # fn example() -> Result<HttpService, ResolveError> {
    /// let resolvers = Resolvers::new();
    /// let hello = resolvers.resolve("etcd://10.0.0.1:2379/hello?version=v1&zone=eu-1a")?;
    /// let service = HttpService::of(hello).build();
    /// # Ok(service)
    /// # }
    /// ```
    pub fn of(target: ResolvedTarget) -> HttpServiceBuilder {
        HttpServiceBuilder::new(CallerBuilder::of(target))
    }

    pub(super) fn from_parts(called: Built<HttpTarget, Http>, has_https: bool) -> Self {
        Self(Arc::new(Shared {
            called,
            has_https,
            is_known: AtomicBool::new(false),
        }))
    }

    /// Sends a request. Dropping the future ends it.
    ///
    /// # Errors
    /// [`HttpError`]. A response is none, whatever its status.
    pub async fn request<B>(&self, request: Request<B>) -> Result<Response<HttpBody>, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.0.check(request.uri())?;
        let caller = &self.0.called.caller;
        let response = caller.answer(&caller.begin(request)).await?;
        Ok(response.map(|body| HttpBody { body }))
    }

    /// The endpoints that can be connected to, before what the balancer makes of them.
    pub fn endpoints(&self) -> &HttpEndpoints {
        &self.0.called.endpoints
    }

    /// Follows which endpoints can be connected to, and why others cannot.
    pub fn reachable(&self) -> StatusReceiver<ReachableStatus> {
        self.0.called.reachable.clone()
    }

    /// Waits until there is an endpoint to call, without limit; `tokio::time::timeout` sets one.
    /// Requests need not wait for it. Cancellation safe.
    ///
    /// # Errors
    /// Why there is none, if that [cannot pass](NoEndpoints::is_transient).
    pub async fn ready(&self) -> Result<(), NoEndpoints> {
        self.0.called.caller.ready().await
    }

    /// Waits until something is known of its endpoints, for the first time.
    pub(super) async fn known(&self) {
        if self.0.is_known.load(Ordering::Relaxed) {
            return;
        }
        // If there are none, calls say why.
        let caller = &self.0.called.caller;
        let _ = caller.wait_while(NoEndpoints::is_pending).await;
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    /// Whether nobody else has it, and no call waits for a response.
    pub(super) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Shared {
    /// Whether a request can be sent with this URI.
    fn check(&self, uri: &Uri) -> Result<(), HttpError> {
        match uri.scheme() {
            None => Ok(()),
            Some(scheme) if *scheme == Scheme::HTTP => Ok(()),
            Some(scheme) if *scheme == Scheme::HTTPS => match self.has_https {
                true => Ok(()),
                false => Err(HttpError::invalid_request(
                    "its scheme is https, and no TLS is configured",
                )),
            },
            Some(_) => Err(HttpError::invalid_request(
                "its scheme is neither http nor https",
            )),
        }
    }
}

/// Picks what a request would be sent to, to look at it.
impl Balancer for HttpService {
    type Target = HttpTarget;

    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<HttpTarget>, NoEndpoints> {
        self.0.called.caller.balancer().pick(context)
    }

    fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.called.caller.balancer().versions()
    }
}

impl<B> Service<Request<B>> for HttpService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<HttpBody>;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<Response<HttpBody>, HttpError>>;

    /// Always ready: a request that cannot be sent fails by itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { service.request(request).await })
    }
}

impl fmt::Debug for HttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService")
            .field("endpoints", &self.0.called.endpoints.endpoints())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The body of a response through an [`HttpService`]. The call ends with it.
    #[derive(Debug, Default)]
    pub struct HttpBody {
        #[pin]
        body: ResponseBody<TargetBody, Http>,
    }
}

impl Body for HttpBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
