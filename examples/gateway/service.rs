//! A service: its instances, and the clients that call them.

use crate::calls::CallCounts;
use http::uri::Authority;
use sd_core::{
    Ejection, EjectionStatus, Endpoint, EndpointSource, LeastLoaded, NoEndpoints, Observed,
    ReachableStatus, Source, StatusReceiver,
};
use sd_tower::{CallPolicy, Channel, HttpService};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::timeout;

/// A service that requests can be passed on to.
pub(crate) struct Service {
    name: Box<str>,
    /// For the URIs of its requests.
    authority: Authority,
    source: Arc<dyn Source>,
    calls: Arc<CallCounts>,
    answer_timeout: Duration,
    http: Upstream<HttpService>,
    /// Made for the first call, since it connects to each instance at once.
    grpc: OnceLock<Upstream<Channel>>,
}

/// The client of one protocol.
pub(crate) struct Upstream<C> {
    client: C,
    ejection: EjectionCell,
    reachable: StatusReceiver<ReachableStatus>,
}

/// Filled when the balancer is made.
type EjectionCell = Arc<OnceLock<StatusReceiver<EjectionStatus>>>;

/// How long the first requests wait until the instances of a new service are known.
const FIRST_USE: Duration = Duration::from_secs(1);

impl Service {
    pub(crate) fn new(name: &str, source: Arc<dyn Source>, answer_timeout: Duration) -> Self {
        let calls = Arc::<CallCounts>::default();
        let (balancer, ejection) = balancer(&source, &calls);
        let client = HttpService::builder(source.clone())
            .policy(CallPolicy::new().answer_timeout(answer_timeout))
            .balancer(balancer)
            .build();
        Self {
            authority: authority(name),
            name: name.into(),
            http: Upstream {
                reachable: client.reachable(),
                client,
                ejection,
            },
            grpc: OnceLock::new(),
            source,
            calls,
            answer_timeout,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn source(&self) -> &dyn Source {
        &*self.source
    }

    pub(crate) fn calls(&self) -> &CallCounts {
        &self.calls
    }

    /// The client for HTTP, as soon as the instances are known.
    pub(crate) async fn http(&self) -> &HttpService {
        let client = &self.http.client;
        wait_until_known(client.endpoints()).await;
        client
    }

    /// The channel for gRPC, as soon as the instances are known.
    pub(crate) async fn grpc(&self) -> &Channel {
        let grpc = self.grpc.get_or_init(|| {
            let (balancer, ejection) = balancer(&self.source, &self.calls);
            let client = Channel::builder(self.source.clone())
                .policy(CallPolicy::new().answer_timeout(self.answer_timeout))
                .balancer(balancer)
                .build();
            Upstream {
                reachable: client.reachable(),
                client,
                ejection,
            }
        });
        wait_until_known(grpc.client.endpoints()).await;
        &grpc.client
    }

    /// Why nobody can be called over HTTP, if that is so.
    pub(crate) fn none(&self) -> Option<NoEndpoints> {
        self.http.client.endpoints().endpoints().non_empty().err()
    }

    /// What is known about the health of its endpoints, for each protocol that was used.
    pub(crate) fn health(&self) -> impl Iterator<Item = EndpointHealth> {
        let grpc = self.grpc.get().map(Upstream::health);
        std::iter::once(self.http.health()).chain(grpc)
    }
}

/// Who cannot be connected to, and who is ejected.
pub(crate) struct EndpointHealth {
    pub(crate) reachable: Arc<ReachableStatus>,
    pub(crate) ejection: Option<Arc<EjectionStatus>>,
}

impl<C> Upstream<C> {
    fn health(&self) -> EndpointHealth {
        EndpointHealth {
            reachable: self.reachable.borrow(),
            ejection: self.ejection.get().map(StatusReceiver::borrow),
        }
    }
}

type Endpoints<T> = Arc<dyn EndpointSource<Target = T>>;
type Balancing<T> = LeastLoaded<Ejection<Observed<Endpoints<T>>>>;

/// What makes the balancer of the service, and where it puts the status of its ejection.
fn balancer<T: Send + Sync + 'static>(
    source: &Arc<dyn Source>,
    calls: &Arc<CallCounts>,
) -> (
    impl FnOnce(Endpoints<T>) -> Balancing<T> + Send + 'static,
    EjectionCell,
) {
    let (source, calls) = (source.clone(), calls.clone());
    let status = Arc::new(OnceLock::new());
    let told = status.clone();
    let make = move |endpoints| {
        let observed = Observed::new(endpoints, move |endpoint: &Endpoint<T>| {
            calls.observer(endpoint.address(), &*source)
        });
        let ejection = Ejection::new(observed);
        let _ = told.set(ejection.status());
        LeastLoaded::new(ejection)
    };
    (make, status)
}

async fn wait_until_known<T: Send + Sync + 'static>(endpoints: &Endpoints<T>) {
    let is_known = || {
        let none = endpoints.endpoints().non_empty().err();
        !matches!(none, Some(NoEndpoints::Unknown))
    };
    if !is_known() {
        let mut versions = endpoints.versions();
        // If they are not known by then, the call fails and says so.
        let _ = timeout(FIRST_USE, versions.wait_for(|_| is_known())).await;
    }
}

/// The name, where it can be the host of a URI.
fn authority(name: &str) -> Authority {
    let is_host = |it: &Authority| it.as_str() == it.host();
    let named = Authority::try_from(name).ok().filter(is_host);
    named.unwrap_or_else(|| Authority::from_static("service"))
}
