//! Channel: what a client that tonic generated calls through.

use super::{
    builder::ChannelBuilder,
    protocol::Grpc,
    target::{GrpcTarget, TargetBody},
};
use crate::{
    call::{Built, CallerBuilder, ResponseBody},
    target::ResolvedTarget,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sd_core::{
    Balancer, BoxError, EndpointSource, NoEndpoints, Pick, PickContext, ReachableStatus, Source,
    StatusReceiver,
};
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::Status;
use tower::Service;

/// A gRPC channel to all instances of a service, for clients that tonic generated. Cheap to clone.
///
/// Each call picks an endpoint when it is made. [`channel`] has the defaults, [`Channel::builder`]
/// the options.
///
/// ```
/// use sd_core::{Instancer, Prefix};
/// use sd_memory::Registry;
/// # mod hello {
/// #     pub struct GreeterClient<T>(T);
/// #     impl<T: tonic::client::GrpcService<tonic::body::Body>> GreeterClient<T> {
/// #         pub fn new(channel: T) -> Self { Self(channel) }
/// #     }
/// # }
/// use hello::GreeterClient;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let registry = Registry::new().client();
/// let instancer = Instancer::new(registry, Prefix::new("/services/hello")?);
/// let greeter = GreeterClient::new(sd_tower::channel(instancer));
/// # Ok(())
/// # }
/// ```
///
/// # A call
/// - **picks** an endpoint whose connection stands: [`Reachable`](sd_core::Reachable) below
///   [`Ejection`](sd_core::Ejection) below [`LeastLoaded`](sd_core::LeastLoaded), unless [told
///   otherwise](ChannelBuilder::balancer).
/// - **lasts** until the body of its response has ended or was dropped. Its outcome is that of the
///   trailers.
/// - **has one deadline** over all attempts: the caller's ([`tonic::Request::set_timeout`]), or that
///   of its [policy](ChannelBuilder::policy). Each attempt tells the server what is left
///   (`grpc-timeout`). A call without a deadline waits for the head of the response at most
///   [so long](crate::CallPolicy::answer_timeout) after its request was complete.
/// - **is made again** on another endpoint if [nothing of it was
///   executed](crate::nothing_executed), and otherwise only if its policy says so. Attempts carry
///   `grpc-previous-rpc-attempts`, and keep to `grpc-retry-pushback-ms`.
///
/// # Errors
/// A [`Status`] of this side has the [`RetryError`](sd_core::RetryError) with all attempts as its
/// source, and in that chain what broke the last one off:
///
/// | code | because |
/// |---|---|
/// | `UNAVAILABLE` | there is no endpoint ([`NoEndpoints`]), it could not be connected to ([`ConnectError`](crate::ConnectError)), or the connection broke |
/// | `DEADLINE_EXCEEDED` | the time of the call is over, or the server has not answered |
/// | others | of HTTP/2, as gRPC maps them |
///
/// # How long it lives
/// The channel follows its source, and keeps a connection to each endpoint, until the last clone and
/// the last call are dropped. Streams go on after their instance is removed from the registry.
#[derive(Clone)]
pub struct Channel(Arc<Built<GrpcTarget, Grpc>>);

/// The endpoints of a [`Channel`]: what its [balancer](ChannelBuilder::balancer) is made over.
pub type GrpcEndpoints = Arc<dyn EndpointSource<Target = GrpcTarget>>;

/// A [`Channel`] to the instances of `source`, with the default options.
///
/// # Panics
/// Outside of a tokio runtime, as `tokio::spawn` does.
pub fn channel(source: impl Source) -> Channel {
    Channel::builder(source).build()
}

impl Channel {
    /// A channel to the instances of `source`, with other options.
    pub fn builder(source: impl Source) -> ChannelBuilder {
        ChannelBuilder::new(CallerBuilder::new(source))
    }

    /// A channel to the service that a [target string](crate::Target) names, with its options.
    ///
    /// ```no_run
    /// use sd_tower::{Channel, ResolveError, Resolvers};
    ///
    /// # fn example() -> Result<Channel, ResolveError> {
    /// let resolvers = Resolvers::new();
    /// let hello = resolvers.resolve("etcd://10.0.0.1:2379/hello?version=v1&zone=eu-1a")?;
    /// let channel = Channel::of(hello).build();
    /// # Ok(channel)
    /// # }
    /// ```
    pub fn of(target: ResolvedTarget) -> ChannelBuilder {
        ChannelBuilder::new(CallerBuilder::of(target))
    }

    pub(super) fn new(called: Built<GrpcTarget, Grpc>) -> Self {
        Self(Arc::new(called))
    }

    /// The endpoints whose connections stand, before what the balancer makes of them.
    pub fn endpoints(&self) -> &GrpcEndpoints {
        &self.0.endpoints
    }

    /// Follows which endpoints can be connected to, and why others cannot.
    pub fn reachable(&self) -> StatusReceiver<ReachableStatus> {
        self.0.reachable.clone()
    }

    /// Waits until there is an endpoint to call, without limit; `tokio::time::timeout` sets one.
    /// Calls need not wait for it. Cancellation safe.
    ///
    /// # Errors
    /// Why there is none, if that [cannot pass](NoEndpoints::is_transient).
    pub async fn ready(&self) -> Result<(), NoEndpoints> {
        self.0.caller.ready().await
    }
}

/// Picks what a call would be made to, to look at it.
impl Balancer for Channel {
    type Target = GrpcTarget;

    fn pick(&self, context: &PickContext<'_>) -> Result<Pick<GrpcTarget>, NoEndpoints> {
        self.0.caller.balancer().pick(context)
    }

    fn versions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.caller.balancer().versions()
    }
}

impl<B> Service<Request<B>> for Channel
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<GrpcBody>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<GrpcBody>, Status>>;

    /// Always ready: a call that cannot be made fails by itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let called = self.0.clone();
        let begun = called.caller.begin(request);
        Box::pin(async move {
            let response = called.caller.answer(&begun).await?;
            Ok(response.map(|body| GrpcBody { body }))
        })
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("endpoints", &self.0.endpoints.endpoints())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The body of a response through a [`Channel`]. The call ends with it.
    #[derive(Debug, Default)]
    pub struct GrpcBody {
        #[pin]
        body: ResponseBody<TargetBody, Grpc>,
    }
}

impl Body for GrpcBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
