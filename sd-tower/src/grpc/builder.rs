//! The options of a channel.

use super::{
    channel::{Channel, GrpcEndpoints},
    protocol::Grpc,
    target::GrpcTarget,
};
use crate::{
    call::{CallPolicy, CallerBuilder, Classifier},
    connection::{ConnectOptions, Http2Options},
};
use http::{Request, Response};
use sd_core::{Balancer, BoxError, EndpointerBuilder, Instance, Outcome, factory_fn};
use std::fmt;
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
    caller: CallerBuilder<GrpcTarget, Code>,
    /// `None`: connect to the address.
    make: Option<Box<MakeTarget>>,
    connect: ConnectOptions,
    http2: Http2Options,
}

type MakeTarget = dyn Fn(&Instance) -> Result<GrpcTarget, BoxError> + Send + Sync;

impl ChannelBuilder {
    pub(super) fn new(caller: CallerBuilder<GrpcTarget, Code>) -> Self {
        Self {
            caller,
            make: None,
            connect: ConnectOptions::default(),
            http2: Http2Options::default(),
        }
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
    /// [`LeastLoaded`](sd_core::LeastLoaded) over [`Ejection`](sd_core::Ejection).
    ///
    /// The endpoints that `make` gets are those that can be [reached](sd_core::Reachable).
    pub fn balancer<B>(mut self, make: impl FnOnce(GrpcEndpoints) -> B + Send + 'static) -> Self
    where
        B: Balancer<Target = GrpcTarget> + 'static,
    {
        self.caller.balancer(make);
        self
    }

    /// The policy of calls that have no other one.
    pub fn policy(mut self, policy: CallPolicy<Code>) -> Self {
        self.caller.policy = policy;
        self
    }

    /// The policy of a method (`/hello.Greeter/SayHello`), or of all methods of a service
    /// (`/hello.Greeter/`) that have none of their own. A single call may bring another one: a
    /// [`CallPolicy`] in the extensions of its request.
    pub fn policy_of(mut self, method: &str, policy: CallPolicy<Code>) -> Self {
        self.caller.policy_of(method, policy);
        self
    }

    /// What the answers of servers say about them, for balancers and adapters that look at failures.
    /// It does not decide what is tried again; see [`CallPolicy::retry_on`]. Default: `UNAVAILABLE`, `INTERNAL`,
    /// `UNKNOWN` and `DATA_LOSS` are failures, `RESOURCE_EXHAUSTED` is overload, and
    /// `DEADLINE_EXCEEDED` is a timeout; so is `UNIMPLEMENTED` a failure if others serve the method.
    ///
    /// ```
    /// # use sd_core::Source;
    /// # use sd_tower::Channel;
    /// use sd_core::Outcome;
    /// use tonic::Code;
    ///
    /// # fn greeters(source: impl Source) -> Channel {
    /// Channel::builder(source)
    ///     .outcome(|code| match code {
    ///         Code::Unavailable => Outcome::Failure,
    ///         Code::ResourceExhausted => Outcome::Overloaded,
    ///         _ => Outcome::Success,
    ///     })
    ///     .build()
    /// # }
    /// ```
    pub fn outcome(mut self, classify: impl Fn(&Code) -> Outcome + Send + Sync + 'static) -> Self {
        self.caller.classifier = Some(Classifier::new::<Grpc>(classify));
        self
    }

    /// Other options of the [`Endpointer`](sd_core::Endpointer) than the default ones.
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
        self.caller.endpointer(configure);
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
        Channel::new(self.caller.build(Grpc::default(), factory))
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder")
            .field("connect", &self.connect)
            .field("http2", &self.http2)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}
