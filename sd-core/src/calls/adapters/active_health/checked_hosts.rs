//! The checked hosts: which address is checked when, and what the results mean. A state machine
//! without I/O.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use super::{health_check::HealthCheckError, options::Options, status::UnhealthyEndpoint};
use crate::calls::run_queue::{QueuedRun, RunId, RunQueue};
use imbl::OrdMap;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Each pause between two checks is longer or shorter than the interval by up to this part of it, so
/// that many callers do not check one host at the same time for ever.
const JITTER: f64 = 0.1;

pub(super) struct CheckedHosts {
    options: Options,
    hosts: BTreeMap<Arc<str>, HostRecord>,
    queue: RunQueue<Arc<str>>,
    verdicts: Verdicts,
}

/// What is known of the addresses that were checked. Cheap to clone.
pub(super) type Verdicts = OrdMap<Arc<str>, Verdict>;

#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Healthy,
    Unhealthy(UnhealthyEndpoint),
}

/// What is known of one address.
struct HostRecord {
    /// The check that waits or runs.
    run: QueuedRun,
    /// How many checks in a row have said otherwise than the verdict.
    contrary: u32,
    is_present: bool,
}

/// A verdict that has changed.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// It is not well, for the first time or again.
    Unhealthy(UnhealthyEndpoint),
    /// It is well again.
    Recovered(UnhealthyEndpoint),
    /// It is well, as far as its first check has shown.
    Healthy,
}

impl CheckedHosts {
    pub(super) fn new(options: Options) -> Self {
        Self {
            queue: RunQueue::new(options.checks_at_once),
            options,
            hosts: BTreeMap::new(),
            verdicts: OrdMap::new(),
        }
    }

    /// Replaces the set of addresses. Returns those that have gone, with the checks that are no
    /// longer needed.
    pub(super) fn set_addresses<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a str>,
        now: Instant,
    ) -> Vec<(Arc<str>, Option<RunId>)> {
        for host in self.hosts.values_mut() {
            host.is_present = false;
        }
        for address in addresses {
            if let Some(host) = self.hosts.get_mut(address) {
                host.is_present = true;
                continue;
            }
            let address: Arc<str> = address.into();
            let host = HostRecord {
                run: self.queue.schedule(address.clone(), now),
                contrary: 0,
                is_present: true,
            };
            self.hosts.insert(address, host);
        }
        let mut gone = Vec::new();
        let (queue, verdicts) = (&mut self.queue, &mut self.verdicts);
        self.hosts.retain(|address, host| {
            if !host.is_present {
                verdicts.remove(address);
                gone.push((address.clone(), queue.cancel(host.run)));
            }
            host.is_present
        });
        gone
    }

    /// Starts a check, if one is due and the limit allows it.
    pub(super) fn start_check(&mut self, now: Instant) -> Option<(RunId, Arc<str>)> {
        let (id, address) = self.queue.start(now)?;
        if let Some(host) = self.hosts.get_mut(&address) {
            host.run = QueuedRun::Running(id);
        }
        Some((id, address))
    }

    /// When to call [`start_check`](Self::start_check) again, unless something else happens before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.queue.wake_at()
    }

    /// Takes the result of a check. Returns the change that it makes. Ignores the result of a
    /// cancelled check.
    pub(super) fn finish_check(
        &mut self,
        id: RunId,
        result: Result<(), HealthCheckError>,
        now: Instant,
    ) -> Option<Change> {
        let has_answered = !matches!(result, Err(HealthCheckError::TimedOut(_)));
        let address = self.queue.finish(id, has_answered, now)?;
        let host = self.hosts.get_mut(&address)?;
        let pause = jittered(self.options.interval);
        host.run = self.queue.schedule(address.clone(), now + pause);

        let verdict = self.verdicts.get(&address);
        let is_contrary = match verdict {
            None => true,
            Some(Verdict::Healthy) => result.is_err(),
            Some(Verdict::Unhealthy(_)) => result.is_ok(),
        };
        host.contrary = if is_contrary { host.contrary + 1 } else { 0 };
        let needed = match (verdict, &result) {
            (None, Ok(())) => 1,
            // What is not used before its first check is not used after a failed one.
            (None, Err(_)) if !self.options.use_unchecked => 1,
            (_, Ok(())) => self.options.healthy_threshold,
            (_, Err(_)) => self.options.unhealthy_threshold,
        };
        if host.contrary < needed {
            return None;
        }
        host.contrary = 0;
        match result {
            Ok(()) => {
                let before = self.verdicts.insert(address, Verdict::Healthy);
                Some(match before {
                    Some(Verdict::Unhealthy(unhealthy)) => Change::Recovered(unhealthy),
                    Some(Verdict::Healthy) | None => Change::Healthy,
                })
            }
            Err(error) => {
                let unhealthy = UnhealthyEndpoint {
                    address: address.clone(),
                    since: now,
                    error,
                };
                let verdict = Verdict::Unhealthy(unhealthy.clone());
                self.verdicts.insert(address, verdict);
                Some(Change::Unhealthy(unhealthy))
            }
        }
    }

    pub(super) fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }
}

/// A time that differs from `interval` by the jitter at most.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}
