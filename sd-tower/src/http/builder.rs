//! The options of an HTTP service.

use super::{
    options::HttpOptions,
    protocol::Http,
    service::{HttpEndpoints, HttpService},
    target::HttpTarget,
};
use crate::{
    call::{CallPolicy, CallerBuilder, Classifier, RequestBody},
    connection::ConnectOptions,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use sd_core::{Balancer, BoxError, EndpointerBuilder, Instance, Outcome, factory_fn};
use std::fmt;
use tower::Service;

/// The options of an [`HttpService`].
///
/// ```
/// use http::StatusCode;
/// use sd_core::{ConsistentHash, Ejection, Source};
/// use sd_tower::{CallPolicy, HttpService};
/// use std::time::Duration;
///
/// fn users(source: impl Source) -> HttpService {
///     let search = CallPolicy::new()
///         .timeout(Duration::from_millis(500))
///         .idempotent(true)
///         .retry_on([StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]);
///     HttpService::builder(source)
///         .balancer(|endpoints| ConsistentHash::new(Ejection::new(endpoints)))
///         .policy(CallPolicy::new().timeout(Duration::from_secs(5)))
///         .policy_of("/search/", search)
///         .build()
/// }
/// ```
#[must_use = "nothing happens before `build`"]
pub struct HttpServiceBuilder {
    caller: CallerBuilder<HttpTarget, StatusCode>,
    /// `None`: connect to the address.
    make: Option<Box<MakeTarget>>,
    connect: ConnectOptions,
    http: HttpOptions,
}

type MakeTarget = dyn Fn(&Instance) -> Result<HttpTarget, BoxError> + Send + Sync;

impl HttpServiceBuilder {
    pub(super) fn new(caller: CallerBuilder<HttpTarget, StatusCode>) -> Self {
        Self {
            caller,
            make: None,
            connect: ConnectOptions::default(),
            http: HttpOptions::default(),
        }
    }

    /// How endpoints are connected to: limits of time, TLS.
    pub fn connect(mut self, options: ConnectOptions) -> Self {
        self.connect = options;
        self
    }

    /// How requests are sent and connections kept: versions of HTTP, idle connections.
    pub fn http(mut self, options: HttpOptions) -> Self {
        self.http = options;
        self
    }

    /// The balancer, over whatever adapters it needs. Default:
    /// [`LeastLoaded`](sd_core::LeastLoaded) over [`Ejection`](sd_core::Ejection).
    ///
    /// The endpoints that `make` gets are those that can be [reached](sd_core::Reachable).
    pub fn balancer<B>(mut self, make: impl FnOnce(HttpEndpoints) -> B + Send + 'static) -> Self
    where
        B: Balancer<Target = HttpTarget> + 'static,
    {
        self.caller.balancer(make);
        self
    }

    /// The policy of requests that have no other one.
    pub fn policy(mut self, policy: CallPolicy<StatusCode>) -> Self {
        self.caller.policy = policy;
        self
    }

    /// The policy of a path (`/users/search`), or of all below one (`/users/`) that have none of
    /// their own. The longest counts. A single request may bring another one: a [`CallPolicy`] of
    /// [`StatusCode`] in its extensions.
    pub fn policy_of(mut self, path: &str, policy: CallPolicy<StatusCode>) -> Self {
        self.caller.policy_of(path, policy);
        self
    }

    /// What the answers of servers say about them, for balancers and adapters that look at failures.
    /// It does not decide what is tried again; see [`CallPolicy::retry_on`]. Default: 429 is
    /// overload, and all from 500 on are failures but 501 and 505.
    ///
    /// ```
    /// # use sd_core::Source;
    /// # use sd_tower::HttpService;
    /// use http::StatusCode;
    /// use sd_core::Outcome;
    ///
    /// # fn hello(source: impl Source) -> HttpService {
    /// HttpService::builder(source)
    ///     .outcome(|status| match *status {
    ///         StatusCode::NOT_FOUND => Outcome::Failure,
    ///         status if status.is_server_error() => Outcome::Failure,
    ///         _ => Outcome::Success,
    ///     })
    ///     .build()
    /// # }
    /// ```
    pub fn outcome(
        mut self,
        classify: impl Fn(&StatusCode) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        self.caller.classifier = Some(Classifier::new::<Http>(classify));
        self
    }

    /// Other options of the [`Endpointer`](sd_core::Endpointer) than the default ones.
    ///
    /// ```
    /// # use sd_core::Source;
    /// # use sd_tower::HttpService;
    /// # use std::time::Duration;
    /// # fn hello(source: impl Source) -> HttpService {
    /// HttpService::builder(source)
    ///     .endpointer(|endpointer| endpointer.invalidate_on_error(Duration::from_secs(60)))
    ///     .build()
    /// # }
    /// ```
    pub fn endpointer(
        mut self,
        configure: impl FnOnce(EndpointerBuilder<HttpTarget>) -> EndpointerBuilder<HttpTarget>
        + Send
        + 'static,
    ) -> Self {
        self.caller.endpointer(configure);
        self
    }

    /// Calls services in this process instead of connecting: `make` returns the service of an
    /// instance, such as an axum `Router`. For tests of everything above the network, with a registry
    /// in memory.
    ///
    /// Deadlines, retries, balancing and streams are as with connections. Requests arrive as they
    /// were made: nothing is filled into their URI, and there are no upgrades. A call runs on the
    /// task of its caller.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Empty, Full};
    /// use sd_core::{FixedInstancer, Instance, Key};
    /// use sd_tower::{HttpService, RequestBody};
    /// use std::convert::Infallible;
    /// use tower::service_fn;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let instances = FixedInstancer::new([Instance::new(Key::new("/hello/a")?, "a:80")]);
    /// let hello = HttpService::builder(instances)
    ///     .in_process(|instance| {
    ///         let answer = format!("Hello from {}", instance.address());
    ///         Ok(service_fn(move |_: Request<RequestBody>| {
    ///             let body = Full::<bytes::Bytes>::from(answer.clone());
    ///             async move { Ok::<_, Infallible>(Response::new(body)) }
    ///         }))
    ///     })
    ///     .build();
    /// hello.ready().await?;
    ///
    /// let request = Request::get("http://hello/").body(Empty::new())?;
    /// let response = hello.request(request).await?;
    /// assert_eq!(response.into_body().collect().await?.to_bytes(), "Hello from a:80");
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_process<S, B>(
        mut self,
        make: impl Fn(&Instance) -> Result<S, BoxError> + Send + Sync + 'static,
    ) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.make = Some(Box::new(move |instance| {
            make(instance).map(HttpTarget::in_process)
        }));
        self
    }

    /// Starts the service: spawns its tasks, and returns at once.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> HttpService {
        let (connect, http, make) = (self.connect, self.http, self.make);
        let has_https = connect.has_tls() || make.is_some();
        let factory = factory_fn(move |instance| match &make {
            Some(make) => make(instance),
            None => HttpTarget::connect(instance.address(), connect.clone(), &http),
        });
        HttpService::from_parts(self.caller.build(Http, factory), has_https)
    }
}

impl fmt::Debug for HttpServiceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServiceBuilder")
            .field("connect", &self.connect)
            .field("http", &self.http)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}
