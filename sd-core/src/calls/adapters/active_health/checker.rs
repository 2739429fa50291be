//! The checker: the task that runs the checks and publishes what they have shown.

use super::{
    checked_hosts::{Change, CheckedHosts, Verdicts},
    health_check::{HealthCheck, HealthCheckError},
};
use crate::{
    calls::{
        adapters::fault_log::FaultLog,
        derived::Nudge,
        endpoint::Endpoint,
        endpoint_source::EndpointSource,
        meters,
        run_queue::RunId,
        runs::{RunError, Runs},
    },
    registry::{ErrorChain, Escaped},
    support::{Panicked, Work},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

pub(super) struct Checker<S: EndpointSource> {
    source: S,
    versions: watch::Receiver<u64>,
    /// In the order of their addresses.
    endpoints: Vec<Arc<Endpoint<S::Target>>>,
    check: Arc<dyn HealthCheck<S::Target>>,
    hosts: CheckedHosts,
    runs: Runs<()>,
    verdicts: watch::Sender<Verdicts>,
    nudge: Nudge,
    log: FaultLog,
}

impl<S: EndpointSource> Checker<S> {
    /// Publishes `verdicts`, and nudges whenever they have changed.
    pub(super) fn new(
        source: S,
        check: Arc<dyn HealthCheck<S::Target>>,
        hosts: CheckedHosts,
        timeout: Duration,
        verdicts: watch::Sender<Verdicts>,
        nudge: Nudge,
    ) -> Self {
        Self {
            versions: source.versions(),
            source,
            endpoints: Vec::new(),
            check,
            hosts,
            runs: Runs::new(timeout),
            verdicts,
            nudge,
            log: FaultLog::new(),
        }
    }

    /// Takes over the endpoints of the source.
    fn update(&mut self) {
        // Before the table is read: a change in between is an update of its own.
        self.versions.borrow_and_update();
        self.endpoints = self.source.endpoints().to_vec();
        self.endpoints
            .sort_by(|one, other| one.address().cmp(other.address()));
        let addresses = self.endpoints.iter().map(|endpoint| endpoint.address());
        let gone = self.hosts.set_addresses(addresses, Instant::now());
        if gone.is_empty() {
            return;
        }
        for (address, check) in gone {
            self.log.forget(&address);
            if let Some(id) = check {
                self.runs.abort(id);
            }
        }
        self.publish();
    }

    /// Starts the checks that are due.
    fn start_checks(&mut self) {
        let now = Instant::now();
        while let Some((id, address)) = self.hosts.start_check(now) {
            let endpoints = &self.endpoints;
            let found = endpoints.binary_search_by(|endpoint| endpoint.address().cmp(&address));
            let Ok(found) = found else {
                continue;
            };
            let (check, endpoint) = (self.check.clone(), endpoints[found].clone());
            self.runs
                .start(id, async move { check.check(&endpoint).await });
        }
    }

    fn finish(&mut self, id: RunId, result: Result<(), RunError>) {
        let now = Instant::now();
        let result = result.map_err(|error| match error {
            RunError::Failed(error) => HealthCheckError::Failed(error.into()),
            RunError::TimedOut(limit) => HealthCheckError::TimedOut(limit),
            RunError::Panicked(message) => HealthCheckError::Panicked(message),
        });
        if result.is_err() {
            meters::health_check_failed();
        }
        if let Some(change) = self.hosts.finish_check(id, result, now) {
            self.log(&change, now);
            self.publish();
        }
    }

    fn publish(&self) {
        self.verdicts.send_replace(self.hosts.verdicts().clone());
        self.nudge.derive_again();
    }

    fn log(&mut self, change: &Change, now: Instant) {
        match change {
            Change::Unhealthy(unhealthy) => {
                if self.log.begins(&unhealthy.address, now) {
                    tracing::warn!(
                        address = %Escaped(&unhealthy.address),
                        error = %ErrorChain(&unhealthy.error),
                        "endpoint unhealthy"
                    );
                }
            }
            Change::Recovered(unhealthy) => {
                if self.log.ends(&unhealthy.address, now) {
                    let after = now.saturating_duration_since(unhealthy.since);
                    tracing::info!(
                        address = %Escaped(&unhealthy.address),
                        ?after,
                        "endpoint healthy again"
                    );
                }
            }
            Change::Healthy => {}
        }
    }
}

impl<S: EndpointSource> Work for Checker<S> {
    const NAME: &'static str = "health checks";

    async fn run(&mut self) {
        let mut is_source_open = true;
        self.update();
        loop {
            // Checks that never wait must not starve the other tasks of this thread.
            consume_budget().await;
            self.start_checks();
            let wake_at = self.hosts.wake_at();
            tokio::select! {
                changed = self.versions.changed(), if is_source_open => {
                    is_source_open = changed.is_ok();
                    self.update();
                }
                Some((id, result)) = self.runs.next() => self.finish(id, result),
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                else => return,
            }
        }
    }

    /// What is known stays.
    fn panicked(&mut self, _why: Panicked) {}
}
