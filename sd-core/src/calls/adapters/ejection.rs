//! Ejection: takes endpoints out of use whose calls fail more than those of others.

mod call_counts;
mod options;
mod outlier_detector;
mod outliers;
mod status;
#[cfg(test)]
mod tests;

pub use options::{EjectionBuilder, FailurePercentageEjection, SuccessRateEjection};
pub use status::{EjectedEndpoint, EjectionReason, EjectionStatus};

use super::{fault_log::FaultLog, panic_threshold::PanicThreshold};
use crate::{
    calls::{
        derived::{Derive, DerivedEndpoints, DerivedSource, Nudge},
        endpoint_source::EndpointSource,
        endpoint_table::{Endpoints, TableContents, TableRef},
        meters::EjectionMeters,
    },
    registry::Escaped,
    support::StatusReceiver,
};
use options::Options;
use outlier_detector::{Change, OutlierDetector};
use std::{fmt, sync::Arc};
use tokio::{sync::watch, time::Instant};

/// An endpoint source that leaves out endpoints whose calls fail more than those of the others:
/// outlier detection, or passive health checking.
///
/// It observes the calls that are picked from it, and so finds endpoints that are registered and
/// accept connections but do not do their work. It sends nothing itself. An endpoint is ejected
///
/// - at once, after [5 calls in a row](EjectionBuilder::consecutive_failures) have failed or timed
///   out;
/// - in a sweep every [10 s](EjectionBuilder::sweep_interval), if its
///   [success rate](EjectionBuilder::success_rate) is an outlier among those of all endpoints, or
///   if [85 % of its calls](EjectionBuilder::failure_percentage) have failed. Both need five
///   addresses with enough calls, and the success rate also needs five failures of the endpoint.
///
/// Calls that are reported as [`Overloaded`](crate::Outcome::Overloaded) count for the success rate
/// only, and [`Cancelled`](crate::Outcome::Cancelled) ones not at all.
///
/// An ejection ends after [30 s](EjectionBuilder::ejection_time) times the number of ejections so
/// far, 300 s at most; each sweep interval without an ejection takes one off that number. Then the
/// endpoint is used again, without being checked. To let it begin with few calls, put a
/// [`SlowStart`](crate::SlowStart) over this.
///
/// At most [10 % of all endpoints](EjectionBuilder::max_ejection_percent), and at least one, are
/// ejected at one time. If the set becomes smaller, those return early whose time is over first. If
/// fewer than [50 %](EjectionBuilder::panic_percent) would be left, all are used. So a fault of
/// something that all endpoints need does not leave the callers without any.
///
/// What is ejected is an address. Two endpoints of one address are ejected together and count as
/// one. An ejection outlasts changes of weight and the removal of an endpoint: one that comes back
/// to the same address within the ejection time is still ejected.
///
/// # When to choose it
/// Always, where callers report outcomes, as [`Retry`](crate::Retry) does. An
/// [`ActiveHealth`](crate::ActiveHealth) also finds endpoints that get no calls, and lets back only
/// those that are well, but costs a connection for each check. Both together are usual, the health
/// check below the ejection.
///
/// # Limits
/// Each process decides by its own calls. With few calls (one in 10 s to each endpoint, say) it
/// decides late. The success rate is relative: among endpoints that all fail a little, the worst
/// may be ejected for chance. With many endpoints, a
/// [`stdev_factor`](SuccessRateEjection::stdev_factor) of 3 makes that rare.
///
/// It follows its source until it is [stopped](Self::stop) or dropped, or its tokio runtime shuts
/// down. The last table stays.
///
/// # Sources
/// [gRFC A50] for the success rate, the failure percentage and the ejection time; [Envoy] for
/// consecutive failures. Different from both: there is never more ejected than the maximum, the
/// worst is ejected first, an ejection ends on time rather than at the next sweep, and a few
/// failures are no outlier.
///
/// [gRFC A50]: https://github.com/grpc/proposal/blob/master/A50-xds-outlier-detection.md
/// [Envoy]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier
///
/// ```
/// use sd_core::{Balancer, Ejection, Endpoint, FixedEndpointer, Instance, Key, Outcome, RoundRobin};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = |name: &str| {
///     let key = Key::new(format!("/hello/{name}"))?;
///     Ok::<_, sd_core::Invalid>(Endpoint::new(Instance::new(key, format!("{name}:80")), ()))
/// };
/// let endpoints = FixedEndpointer::new([endpoint("a")?, endpoint("b")?, endpoint("c")?]);
/// let ejection = Ejection::builder(endpoints)
///     .consecutive_failures(3)
///     .ejection_time(Duration::from_secs(10), Duration::from_secs(60))
///     .build();
/// let mut status = ejection.status();
/// let balancer = RoundRobin::new(ejection);
///
/// for _ in 0..9 {
///     let pick = balancer.endpoint()?;
///     let is_well = pick.address() != "b:80";
///     pick.report(if is_well { Outcome::Success } else { Outcome::Failure });
/// }
/// let status = status.wait_for(|status| !status.ejected.is_empty()).await?;
/// let text = "1 of 3 endpoints ejected: b:80 for 10s: 3 calls in a row failed";
/// assert_eq!(status.to_string(), text);
/// # Ok(())
/// # }
/// ```
pub struct Ejection<S: EndpointSource> {
    derived: DerivedSource<S>,
    status: StatusReceiver<EjectionStatus>,
}

impl<S: EndpointSource> Ejection<S> {
    /// Ejects outliers among the endpoints of `source`, with the default options.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: S) -> Self {
        Self::builder(source).build()
    }

    /// An ejection with other options.
    pub fn builder(source: S) -> EjectionBuilder<S> {
        EjectionBuilder::new(source)
    }

    fn spawn(source: S, options: Options) -> Self {
        let nudge = Nudge::default();
        let (derive, status) = DeriveEjection::new(options, nudge.clone(), Instant::now());
        Self {
            derived: DerivedSource::spawn(source, derive, nudge),
            status,
        }
    }

    /// The source of all endpoints.
    pub fn source(&self) -> &S {
        self.derived.source()
    }

    /// Follows who is ejected. The channel closes when the ejection ends.
    pub fn status(&self) -> StatusReceiver<EjectionStatus> {
        self.status.clone()
    }

    /// Stops following the source and the calls, and waits until that is done. The table stays as
    /// it is.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        self.derived.stop().await;
    }
}

impl<S: EndpointSource> EndpointSource for Ejection<S> {
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

impl<S: EndpointSource> fmt::Debug for Ejection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ejection")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Derives the table of those that are not ejected.
struct DeriveEjection<E> {
    detector: OutlierDetector,
    panic: PanicThreshold,
    observed: DerivedEndpoints<E>,
    status: watch::Sender<Arc<EjectionStatus>>,
    log: FaultLog,
    meters: EjectionMeters,
}

impl<E> DeriveEjection<E> {
    fn new(options: Options, nudge: Nudge, now: Instant) -> (Self, StatusReceiver<EjectionStatus>) {
        let (sender, status) = StatusReceiver::channel(EjectionStatus::default());
        let derive = Self {
            panic: PanicThreshold::new(Self::ADAPTER, options.panic_percent),
            detector: OutlierDetector::new(options, nudge, now),
            observed: DerivedEndpoints::new(),
            status: sender,
            log: FaultLog::new(),
            meters: EjectionMeters::new(),
        };
        (derive, status)
    }

    const ADAPTER: &'static str = "ejection";

    /// Logs and counts a change.
    fn note(&mut self, change: &Change, now: Instant) {
        match change {
            Change::Ejected(ejected) => {
                self.meters.ejected(ejected.reason.label());
                if self.log.begins(&ejected.address, now) {
                    tracing::warn!(
                        address = %Escaped(&ejected.address),
                        reason = %ejected.reason,
                        ejection_time = ?ejected.ejection_time(),
                        "endpoint ejected"
                    );
                }
            }
            Change::Returned(ejected) => {
                if self.log.ends(&ejected.address, now) {
                    let after = now.saturating_duration_since(ejected.since);
                    tracing::info!(
                        address = %Escaped(&ejected.address),
                        ?after,
                        "endpoint no longer ejected"
                    );
                }
            }
            Change::Forgotten(ejected) => self.log.forget(&ejected.address),
        }
    }

    fn publish(&self, status: EjectionStatus) {
        self.status.send_if_modified(|published| {
            let differs = **published != status;
            if differs {
                *published = Arc::new(status);
            }
            differs
        });
    }
}

impl<E: Send + Sync + 'static> Derive<E> for DeriveEjection<E> {
    const NAME: &'static str = Self::ADAPTER;

    fn derive(
        &mut self,
        endpoints: &Endpoints<E>,
        now: Instant,
    ) -> (TableContents<E>, Option<Instant>) {
        let addresses = endpoints.iter().map(|endpoint| endpoint.address());
        let (changes, again) = self.detector.advance(addresses, now);
        for change in &changes {
            self.note(change, now);
        }

        let detector = &self.detector;
        let (present, ejected) = (detector.present(), detector.ejected().count());
        let in_panic = self.panic.is_passed(present - ejected, present, now);
        let observed = self.observed.derive(endpoints, |endpoint| {
            match detector.counts(endpoint.address()) {
                Some(counts) => Arc::new(endpoint.observed_by(counts.clone())),
                None => endpoint.clone(),
            }
        });
        let is_used = |address| in_panic || ejected == 0 || !detector.is_ejected(address);
        let used = observed.filter(|endpoint| is_used(endpoint.address()));
        let used: Vec<_> = used.cloned().collect();

        self.meters.set(ejected);
        self.publish(EjectionStatus {
            ejected: self.detector.ejected().cloned().collect(),
            endpoints: present,
            in_panic,
        });
        let contents = TableContents::new(used, || endpoints.none_healthy());
        let contents = contents.with_panic(in_panic || endpoints.in_panic());
        (contents, Some(again))
    }
}
