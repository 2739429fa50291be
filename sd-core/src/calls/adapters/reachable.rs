//! Reachable: leaves out endpoints whose host cannot be connected to.

mod status;
#[cfg(test)]
mod tests;
mod watched_hosts;

pub use status::{ReachableStatus, UnreachableEndpoint};

use crate::{
    calls::{
        connectivity::Connectable,
        derived::{Derive, DerivedSource, Nudge},
        endpoint_source::EndpointSource,
        endpoint_table::{Endpoints, TableContents, TableRef},
        meters::ReachableMeter,
    },
    support::StatusReceiver,
};
use std::{fmt, sync::Arc};
use tokio::{sync::watch, time::Instant};
use watched_hosts::WatchedHosts;

/// An endpoint source that leaves out the endpoints of another one whose host cannot be connected
/// to, as their targets say.
///
/// The target of an endpoint keeps a connection and knows its state; see [`Connectable`]. An
/// endpoint is left out as soon as its target is [failing](crate::Connectivity::Failing), and taken
/// back when it is connected again. No call is spent on finding out. One that is connecting is
/// used: a call to it waits for the outcome.
///
/// If all are failing, all are used, and are [in panic](Endpoints::in_panic). Calls then fail at
/// once, with the cause. There is no other panic threshold: that a host cannot be connected to is
/// not a guess from its calls.
///
/// What fails is a target. Endpoints that [share one](crate::Endpoint::shares_target_with) are left
/// out together and count once.
///
/// # When to choose it
/// Wherever the targets are [`Connectable`]: it costs nothing per call, and one task per target that
/// sleeps. It notices a host that is down, not one that is connected and does not answer well: put
/// an [`Ejection`](crate::Ejection) above it.
///
/// It follows its source and the targets until it is [stopped](Self::stop) or dropped, or its tokio
/// runtime shuts down. The last table stays.
///
/// ```
/// use sd_core::{Connectable, Connectivity, Endpoint, EndpointSource, FixedEndpointer, Instance};
/// use sd_core::{Key, Reachable};
/// use std::{io, sync::Arc};
/// use tokio::{sync::watch, time::Instant};
///
/// /// A client that shows what it knows of its connection.
/// struct Session(watch::Sender<Connectivity>);
///
/// impl Connectable for Session {
///     fn connectivity(&self) -> watch::Receiver<Connectivity> {
///         self.0.subscribe()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = |name: &str| {
///     let instance = Instance::new(Key::new(name)?, format!("{name}:80"));
///     Ok::<_, sd_core::Invalid>(Endpoint::new(instance, Session(watch::Sender::new(Connectivity::Ready))))
/// };
/// let (a, b) = (Arc::new(endpoint("a")?), Arc::new(endpoint("b")?));
/// let endpoints = FixedEndpointer::unknown();
/// endpoints.set_shared([a.clone(), b]);
/// let reachable = Reachable::new(endpoints);
///
/// a.target().0.send_replace(Connectivity::Failing {
///     cause: Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
///     since: Instant::now(),
///     next_attempt: None,
/// });
/// let status = reachable.status().wait_for(|status| status.reachable == 1).await?;
/// assert_eq!(status.to_string(), "1 endpoint reachable, 1 unreachable: a:80: connection refused");
/// # Ok(())
/// # }
/// ```
pub struct Reachable<S: EndpointSource> {
    derived: DerivedSource<S>,
    status: StatusReceiver<ReachableStatus>,
}

impl<S: EndpointSource<Target: Connectable>> Reachable<S> {
    /// Leaves out the endpoints of `source` whose targets are failing.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn new(source: S) -> Self {
        let nudge = Nudge::default();
        let (derive, status) = DeriveReachable::new(nudge.clone());
        Self {
            derived: DerivedSource::spawn(source, derive, nudge),
            status,
        }
    }
}

impl<S: EndpointSource> Reachable<S> {
    /// The source of all endpoints.
    pub fn source(&self) -> &S {
        self.derived.source()
    }

    /// Follows which hosts can be connected to. The channel closes when nothing is followed any
    /// longer.
    pub fn status(&self) -> StatusReceiver<ReachableStatus> {
        self.status.clone()
    }

    /// Stops following the source and the targets, and waits until that is done. The table stays as
    /// it is.
    ///
    /// Goes on in the background if the future is dropped.
    pub async fn stop(&self) {
        self.derived.stop().await;
    }
}

impl<S: EndpointSource> EndpointSource for Reachable<S> {
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

impl<S: EndpointSource> fmt::Debug for Reachable<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reachable")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Derives the table of those that are not failing.
struct DeriveReachable<E> {
    hosts: WatchedHosts<E>,
    status: watch::Sender<Arc<ReachableStatus>>,
    meter: ReachableMeter,
}

impl<E> DeriveReachable<E> {
    fn new(nudge: Nudge) -> (Self, StatusReceiver<ReachableStatus>) {
        let (sender, status) = StatusReceiver::channel(ReachableStatus::default());
        let derive = Self {
            hosts: WatchedHosts::new(nudge),
            status: sender,
            meter: ReachableMeter::new(),
        };
        (derive, status)
    }

    fn publish(&self, status: ReachableStatus) {
        self.status.send_if_modified(|published| {
            let differs = status.differs_from(published);
            if differs {
                *published = Arc::new(status);
            }
            differs
        });
    }
}

impl<E: Connectable + Send + Sync + 'static> Derive<E> for DeriveReachable<E> {
    const NAME: &'static str = "reachable";

    fn derive(
        &mut self,
        endpoints: &Endpoints<E>,
        now: Instant,
    ) -> (TableContents<E>, Option<Instant>) {
        let status = self.hosts.update(endpoints, now);
        let in_panic = status.reachable == 0 && !status.unreachable.is_empty();
        let used = endpoints
            .iter()
            .filter(|endpoint| in_panic || !self.hosts.is_unreachable(endpoint));
        let used: Vec<_> = used.cloned().collect();
        self.meter.set(status.unreachable.len());
        self.publish(status);
        let contents = TableContents::selected(endpoints, used);
        (contents.with_panic(in_panic || endpoints.in_panic()), None)
    }
}
