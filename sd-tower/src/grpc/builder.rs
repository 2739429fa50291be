//! The options of a channel.

use super::{
    channel::{Channel, GrpcEndpoints},
    protocol::Grpc,
    target::GrpcTarget,
};
use crate::{
    call::{CallPolicy, Caller},
    connection::{ConnectOptions, Http2Options},
    target::{BalancerKind, TargetOptions},
};
use http::{Request, Response};
use sd_core::{
    Balancer, BoxError, Ejection, Endpointer, EndpointerBuilder, Instance, Reachable, Source,
    factory_fn,
};
use std::{fmt, sync::Arc};
use tonic::{Code, body::Body};
use tower::Service;

/// The options of a [`Channel`].
///
/// ```
/// use sd_core::{Ejection, LeastLoaded, Source, ZonePreference};
/// use sd_tower::{CallPolicy, Channel};
/// use std::time::Duration;
/// use tonic::Code;
///
/// fn greeters(source: impl Source) -> Channel {
///     let reads = CallPolicy::new()
///         .timeout(Duration::from_millis(500))
///         .retry_on([Code::Unavailable])
///         .idempotent(true);
///     Channel::builder(source)
///         .balancer(|endpoints| {
///             LeastLoaded::new(ZonePreference::new(Ejection::new(endpoints), "eu-1a"))
///         })
///         .policy(CallPolicy::new().timeout(Duration::from_secs(5)))
///         .policy_of("/hello.Greeter/Get", reads)
///         .build()
/// }
/// ```
#[must_use = "nothing happens before `build`"]
pub struct ChannelBuilder {
    source: Arc<dyn Source>,
    make: MakeTarget,
    connect: ConnectOptions,
    http2: Http2Options,
    options: TargetOptions,
    balancer: Option<MakeBalancer>,
    policy: CallPolicy<Code>,
    policies: Vec<(Box<str>, CallPolicy<Code>)>,
    configure: Configure,
}

/// `None`: connect to the address.
type MakeTarget = Option<Box<dyn Fn(&Instance) -> Result<GrpcTarget, BoxError> + Send + Sync>>;
type MakeBalancer = Box<dyn FnOnce(GrpcEndpoints) -> Arc<dyn Balancer<Target = GrpcTarget>> + Send>;
type Configure =
    Box<dyn FnOnce(EndpointerBuilder<GrpcTarget>) -> EndpointerBuilder<GrpcTarget> + Send>;

impl ChannelBuilder {
    pub(super) fn new(source: impl Source) -> Self {
        Self {
            source: Arc::new(source),
            make: None,
            connect: ConnectOptions::default(),
            http2: Http2Options::default(),
            options: TargetOptions::default(),
            balancer: None,
            policy: CallPolicy::default(),
            policies: Vec::new(),
            configure: Box::new(|endpointer| endpointer),
        }
    }

    /// Selects endpoints as a [target string](crate::Target) says: by metadata, by zone, or a
    /// subset. Its balancer is the default one. [`Channel::of`] does it.
    pub fn target_options(mut self, options: TargetOptions) -> Self {
        self.options = options;
        self
    }

    /// How endpoints are connected to: limits of time, TLS.
    pub fn connect(mut self, options: ConnectOptions) -> Self {
        self.connect = options;
        self
    }

    /// How connections are kept: pings, and the `:authority` of requests.
    pub fn http2(mut self, options: Http2Options) -> Self {
        self.http2 = options;
        self
    }

    /// The balancer, over whatever adapters it needs. Default:
    /// [`LeastLoaded`](sd_core::LeastLoaded) over [`Ejection`].
    ///
    /// The endpoints that `make` gets are those that can be [reached](Reachable), and that the
    /// [target](Self::target_options) selects.
    pub fn balancer<B>(mut self, make: impl FnOnce(GrpcEndpoints) -> B + Send + 'static) -> Self
    where
        B: Balancer<Target = GrpcTarget> + 'static,
    {
        self.balancer = Some(Box::new(|endpoints| Arc::new(make(endpoints))));
        self
    }

    /// The policy of calls that have no other one.
    pub fn policy(mut self, policy: CallPolicy<Code>) -> Self {
        self.policy = policy;
        self
    }

    /// The policy of a method (`/hello.Greeter/SayHello`), or of all methods of a service
    /// (`/hello.Greeter/`) that have none of their own. A single call may bring another one: a
    /// [`CallPolicy`] in the extensions of its request.
    pub fn policy_of(mut self, method: &str, policy: CallPolicy<Code>) -> Self {
        self.policies.push((method.into(), policy));
        self
    }

    /// Other options of the [`Endpointer`] than the default ones.
    ///
    /// ```
    /// # use sd_core::Source;
    /// # use sd_tower::Channel;
    /// # use std::time::Duration;
    /// # fn greeters(source: impl Source) -> Channel {
    /// Channel::builder(source)
    ///     .endpointer(|endpointer| endpointer.invalidate_on_error(Duration::from_secs(60)))
    ///     .build()
    /// # }
    /// ```
    pub fn endpointer(
        mut self,
        configure: impl FnOnce(EndpointerBuilder<GrpcTarget>) -> EndpointerBuilder<GrpcTarget>
        + Send
        + 'static,
    ) -> Self {
        self.configure = Box::new(configure);
        self
    }

    /// Calls services in this process instead of connecting: `make` returns the service of an
    /// instance, such as a server that tonic generated. For tests of everything above the network,
    /// with a registry in memory.
    ///
    /// Deadlines, retries, balancing and streams are as with connections. A call runs on the task
    /// of its caller.
    pub fn in_process<S>(
        mut self,
        make: impl Fn(&Instance) -> Result<S, BoxError> + Send + Sync + 'static,
    ) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        self.make = Some(Box::new(move |instance| {
            make(instance).map(GrpcTarget::in_process)
        }));
        self
    }

    /// Starts the channel: spawns its tasks, and returns at once.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> Channel {
        let (connect, http2, make) = (self.connect, self.http2, self.make);
        let factory = factory_fn(move |instance| match &make {
            Some(make) => make(instance),
            None => Ok(GrpcTarget::connect(
                instance.address(),
                connect.clone(),
                http2.clone(),
            )?),
        });
        let endpointer = (self.configure)(Endpointer::builder(self.source, factory)).build();
        let endpoints: GrpcEndpoints = Arc::new(Reachable::new(endpointer));
        let selected: GrpcEndpoints = self.options.select(endpoints.clone()).into();
        let balancer = match self.balancer {
            Some(make) => make(selected),
            None => {
                let kind = self.options.balancer().unwrap_or(BalancerKind::LeastLoaded);
                kind.over(Ejection::new(selected)).into()
            }
        };
        let caller = Caller::new(Grpc::default(), balancer, self.policy, self.policies);
        Channel::new(caller, endpoints)
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder")
            .field("connect", &self.connect)
            .field("http2", &self.http2)
            .field("policy", &self.policy)
            .field("policies", &self.policies)
            .finish_non_exhaustive()
    }
}
