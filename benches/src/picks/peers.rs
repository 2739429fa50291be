//! The balancers of other toolkits.
//!
//! Only what one call needs of them is measured, on services that answer at once.

use super::{
    candidate::{Candidate, DECAY, Kind, Picks, Source, address},
    candidates::with_keys,
};
use crate::rounds::Work;
use futures::FutureExt;
use pingora_ketama::{Bucket, Continuum};
use sd_core::EndpointSource;
use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower::{
    Service,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, Load, PeakEwma, PendingRequests},
};
use volo::{
    context::Endpoint,
    discovery::WeightedStaticDiscover,
    loadbalance::{LoadBalance, random::WeightedRandomBalance},
};

pub(super) const PEERS: [Candidate; 4] = [
    Candidate {
        name: "tower p2c, pending requests",
        kind: Kind::Peer { is_shared: false },
        prepare: |source| {
            tower(source, |service| {
                PendingRequests::new(service, CompleteOnResponse::default())
            })
        },
    },
    Candidate {
        name: "tower p2c, peak EWMA",
        kind: Kind::Peer { is_shared: false },
        prepare: |source| {
            tower(source, |service| {
                PeakEwma::new(
                    service,
                    FIRST_LATENCY,
                    DECAY.as_nanos() as f64,
                    CompleteOnResponse::default(),
                )
            })
        },
    },
    Candidate {
        name: "volo weighted random",
        kind: Kind::Peer { is_shared: true },
        prepare: volo,
    },
    Candidate {
        name: "pingora Ketama",
        kind: Kind::Peer { is_shared: true },
        prepare: |source| pingora(Continuum::new(&ketama_servers(source.endpoints().len()))),
    },
];

const FIRST_LATENCY: Duration = Duration::from_millis(1);

/// A service that answers at once.
struct AtOnce;

impl Service<()> for AtOnce {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

/// tower's balancer belongs to one task: each thread has its own.
fn tower<L>(source: Source, loaded: fn(AtOnce) -> L) -> Picks
where
    L: Service<(), Response = (), Error = Infallible> + Load + Send + 'static,
    L::Future: Send,
    L::Metric: std::fmt::Debug,
{
    Box::new(move || -> Work {
        let endpoints = source.endpoints();
        let services: Vec<_> = endpoints.iter().map(|_| loaded(AtOnce)).collect();
        let mut balance = Balance::new(ServiceList::new::<()>(services));
        Box::new(move |times| {
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..times {
                let ready = balance.poll_ready(&mut context);
                assert!(matches!(ready, Poll::Ready(Ok(()))), "all are ready");
                let answer = balance.call(()).now_or_never();
                black_box(answer.expect("it answers at once")).expect("it does not fail");
            }
        })
    })
}

fn volo(source: Source) -> Picks {
    let endpoints = source.endpoints();
    let weighted = endpoints.iter().map(|endpoint| {
        let address = endpoint.address().parse().expect("an IP address");
        (address, endpoint.weight())
    });
    let discover = WeightedStaticDiscover::from(weighted.collect::<Vec<_>>());
    let balance = WeightedRandomBalance::with_discover(&discover);
    let shared = Arc::new((discover, balance));
    Box::new(move || {
        let shared = shared.clone();
        let endpoint = Endpoint::new("hello".into());
        Box::new(move |times| {
            let (discover, balance) = &*shared;
            for _ in 0..times {
                let picker = balance.get_picker(&endpoint, discover).now_or_never();
                let mut picker = picker.expect("it does not wait").expect("it does not fail");
                black_box(picker.next()).expect("there are endpoints");
            }
        })
    })
}

/// So many servers for a ring, all of the weight 1: one of another weight has as many times the points.
pub(crate) fn ketama_servers(count: usize) -> Vec<Bucket> {
    let address = |n| address(n).parse().expect("an IP address");
    (0..count).map(|n| Bucket::new(address(n), 1)).collect()
}

/// Each call has another hash key.
fn pingora(ring: Continuum) -> Picks {
    let ring = Arc::new(ring);
    Box::new(move || {
        let ring = ring.clone();
        with_keys(move |key| {
            black_box(ring.node(key)).expect("there are servers");
        })
    })
}
