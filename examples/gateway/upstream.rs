//! The clients of a service, one for each protocol.

use crate::calls::CallCounts;
use sd_core::{
    Ejection, EjectionStatus, Endpoint, EndpointSource, LeastLoaded, NoEndpoints, Observed,
    ReachableStatus, Source, StatusReceiver,
};
use sd_tower::{CallPolicy, Channel, GrpcTarget, HttpService, HttpTarget};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::timeout;

/// The client of one protocol.
pub(crate) struct Upstream<C, T: Send + Sync + 'static> {
    client: C,
    /// What its balancer picks from.
    ejection: EjectionCell<T>,
    reachable: StatusReceiver<ReachableStatus>,
}

type Endpoints<T> = Arc<dyn EndpointSource<Target = T>>;
type Selected<T> = Arc<Ejection<Observed<Endpoints<T>>>>;
/// Filled when the balancer is made.
type EjectionCell<T> = Arc<OnceLock<Selected<T>>>;

/// How long the first requests wait until the instances of a new service are known.
const FIRST_USE: Duration = Duration::from_secs(1);

impl Upstream<HttpService, HttpTarget> {
    pub(crate) fn http(
        source: &Arc<dyn Source>,
        calls: &Arc<CallCounts>,
        answer_timeout: Duration,
    ) -> Self {
        let (balancer, ejection) = balancer(source, calls);
        let client = HttpService::builder(source.clone())
            .policy(CallPolicy::new().answer_timeout(answer_timeout))
            .balancer(balancer)
            .build();
        Self {
            reachable: client.reachable(),
            client,
            ejection,
        }
    }
}

impl Upstream<Channel, GrpcTarget> {
    pub(crate) fn grpc(
        source: &Arc<dyn Source>,
        calls: &Arc<CallCounts>,
        answer_timeout: Duration,
    ) -> Self {
        let (balancer, ejection) = balancer(source, calls);
        let client = Channel::builder(source.clone())
            .policy(CallPolicy::new().answer_timeout(answer_timeout))
            .balancer(balancer)
            .build();
        Self {
            reachable: client.reachable(),
            client,
            ejection,
        }
    }
}

/// Who cannot be connected to, and who is ejected.
pub(crate) struct EndpointHealth {
    pub(crate) reachable: Arc<ReachableStatus>,
    pub(crate) ejection: Option<Arc<EjectionStatus>>,
}

impl<C, T: Send + Sync + 'static> Upstream<C, T> {
    /// Why nobody can be called, if that is so.
    pub(crate) fn none(&self) -> Option<NoEndpoints> {
        self.ejection.get()?.endpoints().non_empty().err()
    }

    /// The client, as soon as the instances are known. If they are not in time, its calls fail and say
    /// so.
    pub(crate) async fn client(&self) -> &C {
        let is_known = || self.none().is_none_or(|none| !none.is_pending());
        if !is_known()
            && let Some(ejection) = self.ejection.get()
        {
            let mut versions = ejection.versions();
            let _ = timeout(FIRST_USE, versions.wait_for(|_| is_known())).await;
        }
        &self.client
    }

    pub(crate) fn health(&self) -> EndpointHealth {
        EndpointHealth {
            reachable: self.reachable.borrow(),
            ejection: self.ejection.get().map(|it| it.status().borrow()),
        }
    }
}

/// What makes the balancer of the service, and where it puts what that picks from.
fn balancer<T: Send + Sync + 'static>(
    source: &Arc<dyn Source>,
    calls: &Arc<CallCounts>,
) -> (
    impl FnOnce(Endpoints<T>) -> LeastLoaded<Selected<T>> + Send + 'static,
    EjectionCell<T>,
) {
    let (source, calls) = (source.clone(), calls.clone());
    let cell = EjectionCell::<T>::default();
    let filled = cell.clone();
    let make = move |endpoints| {
        let observed = Observed::new(endpoints, move |endpoint: &Endpoint<T>| {
            calls.observer(endpoint.address(), &*source)
        });
        let selected = filled.get_or_init(|| Arc::new(Ejection::new(observed)));
        LeastLoaded::new(selected.clone())
    };
    (make, cell)
}
