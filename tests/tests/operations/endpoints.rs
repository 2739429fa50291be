//! Faults of endpoints: calls and health checks that fail.

use crate::*;
use sd_core::{
    ActiveHealth, BoxError, Connectable, Connectivity, Ejection, EjectionStatus, Endpoint,
    EndpointSource, FixedEndpointer, HealthCheck, Instance, Key, Outcome, Pick, Reachable,
    async_trait,
};
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::{sync::watch, time::Instant};

fn endpoints() -> FixedEndpointer<()> {
    let endpoint = |name: &str| {
        let instance = Instance::new(Key::new(name).unwrap(), format!("{name}:80"));
        Endpoint::new(instance, ())
    };
    FixedEndpointer::new(["a", "b", "c"].map(endpoint))
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_fails_its_calls() {
    let monitor = Monitor::start();
    let ejection = Ejection::new(endpoints());
    let failing = ejection.endpoints()[1].clone();

    monitor.reset();
    for _ in 0..5 {
        Pick::new(failing.clone()).report(Outcome::Failure);
    }
    let mut status = ejection.status();
    for ejected in [1, 0] {
        let has = |status: &EjectionStatus| status.ejected.len() == ejected;
        status.wait_for(has).await.unwrap();
    }

    monitor.shows("an endpoint fails its calls").await;
}

/// Fails so many of the next checks.
#[derive(Clone, Default)]
struct Failing(Arc<AtomicUsize>);

#[async_trait]
impl HealthCheck<()> for Failing {
    async fn check(&self, _: &Endpoint<()>) -> Result<(), BoxError> {
        let left = |left: usize| left.checked_sub(1);
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        match before {
            Ok(_) => Err("not ready".into()),
            Err(_) => Ok(()),
        }
    }
}

/// The health checks of three endpoints, after so many failures of one check for each.
async fn check(failures: usize) -> ActiveHealth<FixedEndpointer<()>> {
    let check = Failing::default();
    let builder = ActiveHealth::builder(endpoints(), check.clone()).unhealthy_threshold(1);
    let health = builder.build();
    let mut status = health.status();
    status.wait_for(|it| it.healthy == 3).await.unwrap();
    check.0.store(failures, Ordering::Relaxed);
    health
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_fails_its_health_checks() {
    let monitor = Monitor::start();

    let _health = check(1).await;

    monitor.shows("an endpoint fails its health checks").await;
}

#[tokio::test(start_paused = true)]
async fn most_endpoints_look_unhealthy() {
    let monitor = Monitor::start();

    let _health = check(2).await;

    monitor.shows("most endpoints look unhealthy").await;
}

/// A client whose state the test decides.
struct Session(watch::Sender<Connectivity>);

impl Connectable for Session {
    fn connectivity(&self) -> watch::Receiver<Connectivity> {
        self.0.subscribe()
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_cannot_be_connected_to() {
    let monitor = Monitor::start();
    let instance = Instance::new(Key::new("a").unwrap(), "a:80");
    let session = Session(watch::Sender::new(Connectivity::Ready));
    let reachable = Reachable::new(FixedEndpointer::new([Endpoint::new(instance, session)]));
    let endpoint = reachable.endpoints()[0].clone();
    let mut status = reachable.status();

    monitor.reset();
    endpoint.target().0.send_replace(Connectivity::Failing {
        cause: Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
        since: Instant::now(),
        next_attempt: None,
    });
    status
        .wait_for(|status| status.reachable == 0)
        .await
        .unwrap();
    endpoint.target().0.send_replace(Connectivity::Ready);
    status
        .wait_for(|status| status.reachable == 1)
        .await
        .unwrap();

    monitor.shows("an endpoint cannot be connected to").await;
}
