//! Active health: leaves out endpoints that fail a health check.

mod checked_hosts;
mod checker;
mod health_check;
mod options;
mod status;
#[cfg(feature = "tcp")]
mod tcp_connect;
#[cfg(test)]
mod tests;

pub use health_check::{HealthCheck, HealthCheckError};
pub use options::ActiveHealthBuilder;
pub use status::{HealthStatus, UnhealthyEndpoint};
#[cfg(feature = "tcp")]
pub use tcp_connect::TcpConnect;

use super::panic_threshold::PanicThreshold;
use crate::{
    calls::{
        derived::{Derive, DerivedSource, Nudge},
        endpoint_source::EndpointSource,
        endpoint_table::{Endpoints, TableContents, TableRef},
        meters::HealthMeter,
    },
    support::{BackgroundTask, StatusReceiver},
};
use checked_hosts::{CheckedHosts, Verdict, Verdicts};
use checker::Checker;
use options::Options;
use std::{collections::BTreeMap, fmt, sync::Arc};
use tokio::{sync::watch, time::Instant};

/// An endpoint source that checks the endpoints of another one from time to time, and leaves out
/// those that fail: active health checking.
///
/// Every endpoint is checked once [10 s](ActiveHealthBuilder::interval) have passed since its last
/// check, and a new one at once. After
/// [three failed checks in a row](ActiveHealthBuilder::unhealthy_threshold) it is unhealthy and gets
/// no calls. After [one that passes](ActiveHealthBuilder::healthy_threshold) it is used again. A
/// check that takes longer than [1 s](ActiveHealthBuilder::timeout) or panics has failed.
///
/// A new endpoint is used before its first check has ended, unless that is
/// [turned off](ActiveHealthBuilder::use_unchecked). If fewer than
/// [50 %](ActiveHealthBuilder::panic_percent) of the endpoints are not unhealthy, all are used. So a
/// fault of the check, or of the network between, does not leave the callers without any.
///
/// What is checked is an address. Two endpoints of one address are checked once and left out
/// together. Checks of endpoints that have gone are dropped, and what they have shown is forgotten.
///
/// Checks run on a task of their own, at most [32 at once](ActiveHealthBuilder::checks_at_once). One
/// that hangs delays no others.
///
/// # When to choose it
/// Where endpoints get few calls, so that an [`Ejection`](crate::Ejection) decides late; where an
/// endpoint that does not answer must not be tried by callers; or where the registry keeps
/// instances that are not well, because whoever registers them does not check them. Each process
/// checks each endpoint, so with many processes take a longer interval, or put a
/// [`Subset`](crate::Subset) below.
///
/// # Limits
/// With the default options an endpoint that fails gets calls for 20 to 30 s more. A check that
/// passes says only what it checks: `TcpConnect` (feature `tcp`) says that the port is open.
///
/// It checks and follows its source until it is [stopped](Self::stop) or dropped, or its tokio
/// runtime shuts down. The last table stays.
///
/// # Sources
/// Envoy's [health checking]; the defaults are those of [Kubernetes' probes].
///
/// [health checking]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking
/// [Kubernetes' probes]: https://kubernetes.io/docs/concepts/workloads/pods/probes/
///
/// ```
/// use sd_core::{
///     ActiveHealth, BoxError, Endpoint, EndpointSource, FixedEndpointer, HealthCheck, Instance, Key,
///     async_trait,
/// };
/// use std::time::Duration;
///
/// /// Finds that all is well but at one address.
/// struct NotAt(&'static str);
///
/// #[async_trait]
/// impl<E: Send + Sync> HealthCheck<E> for NotAt {
///     async fn check(&self, endpoint: &Endpoint<E>) -> Result<(), BoxError> {
///         if endpoint.address() == self.0 { Err("not ready".into()) } else { Ok(()) }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = |name: &str| {
///     let key = Key::new(format!("/hello/{name}"))?;
///     Ok::<_, sd_core::Invalid>(Endpoint::new(Instance::new(key, format!("{name}:80")), ()))
/// };
/// let endpoints = FixedEndpointer::new([endpoint("a")?, endpoint("b")?, endpoint("c")?]);
/// let healthy = ActiveHealth::builder(endpoints, NotAt("b:80"))
///     .interval(Duration::from_secs(2))
///     .use_unchecked(false)
///     .build();
/// let status = healthy.status().wait_for(|status| status.unchecked == 0).await?;
/// assert_eq!(status.to_string(), "2 endpoints healthy, 1 unhealthy: b:80: not ready");
/// # Ok(())
/// # }
/// ```
pub struct ActiveHealth<S: EndpointSource> {
    derived: DerivedSource<Arc<S>>,
    status: StatusReceiver<HealthStatus>,
    checker: BackgroundTask,
}

impl<S: EndpointSource> ActiveHealth<S> {
    /// Checks the endpoints of `source` with `check`, with the default options.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: S, check: impl HealthCheck<S::Target>) -> Self {
        Self::builder(source, check).build()
    }

    /// Health checks with other options.
    pub fn builder(source: S, check: impl HealthCheck<S::Target>) -> ActiveHealthBuilder<S> {
        ActiveHealthBuilder::new(source, check)
    }

    fn spawn(source: S, check: Arc<dyn HealthCheck<S::Target>>, options: Options) -> Self {
        let (source, nudge) = (Arc::new(source), Nudge::default());
        let (sender, verdicts) = watch::channel(Verdicts::new());
        let checker = Checker::new(
            source.clone(),
            check,
            CheckedHosts::new(options.clone()),
            options.timeout,
            sender,
            nudge.clone(),
        );
        let (derive, status) = DeriveHealthy::new(&options, verdicts);
        Self {
            derived: DerivedSource::spawn(source, derive, nudge),
            status,
            checker: BackgroundTask::spawn(checker),
        }
    }

    /// The source of all endpoints.
    pub fn source(&self) -> &S {
        self.derived.source()
    }

    /// Follows what the checks have shown. The channel closes when the health checks end.
    pub fn status(&self) -> StatusReceiver<HealthStatus> {
        self.status.clone()
    }

    /// Stops following the source, drops the checks, and waits until that is done. The table stays
    /// as it is.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        tokio::join!(self.checker.stop(), self.derived.stop());
    }
}

impl<S: EndpointSource> EndpointSource for ActiveHealth<S> {
    type Target = S::Target;

    #[inline]
    fn endpoints(&self) -> Endpoints<S::Target> {
        self.derived.endpoints()
    }

    #[inline]
    fn table_ref(&self) -> Option<TableRef<'_, S::Target>> {
        self.derived.table_ref()
    }

    fn versions(&self) -> watch::Receiver<u64> {
        self.derived.versions()
    }
}

impl<S: EndpointSource> fmt::Debug for ActiveHealth<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveHealth")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Derives the table of those that are not known to be unhealthy.
struct DeriveHealthy {
    verdicts: watch::Receiver<Verdicts>,
    use_unchecked: bool,
    panic: PanicThreshold,
    status: watch::Sender<Arc<HealthStatus>>,
    meter: HealthMeter,
}

impl DeriveHealthy {
    fn new(
        options: &Options,
        verdicts: watch::Receiver<Verdicts>,
    ) -> (Self, StatusReceiver<HealthStatus>) {
        let (sender, status) = StatusReceiver::channel(HealthStatus::default());
        let derive = Self {
            verdicts,
            use_unchecked: options.use_unchecked,
            panic: PanicThreshold::new("active health", options.panic_percent),
            status: sender,
            meter: HealthMeter::new(),
        };
        (derive, status)
    }

    fn publish(&self, status: HealthStatus) {
        self.status.send_if_modified(|published| {
            let differs = status.differs_from(published);
            if differs {
                *published = Arc::new(status);
            }
            differs
        });
    }
}

impl<E: Send + Sync + 'static> Derive<E> for DeriveHealthy {
    const NAME: &'static str = "active health";

    fn derive(
        &mut self,
        endpoints: &Endpoints<E>,
        now: Instant,
    ) -> (TableContents<E>, Option<Instant>) {
        let verdicts = self.verdicts.borrow().clone();
        let hosts: BTreeMap<_, _> = endpoints
            .iter()
            .map(|endpoint| (endpoint.address(), verdicts.get(endpoint.address())))
            .collect();
        let mut status = HealthStatus::default();
        for verdict in hosts.values() {
            match verdict {
                None => status.unchecked += 1,
                Some(Verdict::Healthy) => status.healthy += 1,
                Some(Verdict::Unhealthy(unhealthy)) => status.unhealthy.push(unhealthy.clone()),
            }
        }
        let not_unhealthy = hosts.len() - status.unhealthy.len();
        let in_panic = self.panic.is_passed(not_unhealthy, hosts.len(), now);
        let is_used = |address| match verdicts.get(address) {
            None => self.use_unchecked || in_panic,
            Some(Verdict::Healthy) => true,
            Some(Verdict::Unhealthy(_)) => in_panic,
        };
        let used = endpoints
            .iter()
            .filter(|endpoint| is_used(endpoint.address()));
        let used: Vec<_> = used.cloned().collect();

        self.meter.set(status.unhealthy.len());
        status.in_panic = in_panic;
        self.publish(status);
        let contents = TableContents::new(used, || endpoints.none_healthy());
        let contents = contents.with_panic(in_panic || endpoints.in_panic());
        (contents, None)
    }
}
