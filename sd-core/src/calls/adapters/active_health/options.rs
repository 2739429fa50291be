//! The options of an active health check.

use super::{ActiveHealth, health_check::HealthCheck};
use crate::calls::{
    adapters::{FOREVER, SHORTEST, panic_threshold::PANIC_PERCENT},
    endpoint_source::EndpointSource,
};
use std::{fmt, sync::Arc, time::Duration};

/// The options of an [`ActiveHealth`], see there for an example.
#[must_use = "nothing happens before `build`"]
pub struct ActiveHealthBuilder<S: EndpointSource> {
    source: S,
    check: Arc<dyn HealthCheck<S::Target>>,
    options: Options,
}

impl<S: EndpointSource> ActiveHealthBuilder<S> {
    pub(super) fn new(source: S, check: impl HealthCheck<S::Target>) -> Self {
        Self {
            source,
            check: Arc::new(check),
            options: Options::default(),
        }
    }

    /// The pause between the end of a check and the next one of the same endpoint, give or take a
    /// tenth. Default: 10 s; at least 1 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.options.interval = interval.clamp(SHORTEST, FOREVER);
        self
    }

    /// How long a check may take before it counts as failed. Default: 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// After how many failed checks in a row an endpoint is not used any more. Default: 3; 0 counts
    /// as 1.
    pub fn unhealthy_threshold(mut self, checks: u32) -> Self {
        self.options.unhealthy_threshold = checks.max(1);
        self
    }

    /// After how many passed checks in a row an unhealthy endpoint is used again. Default: 1; 0
    /// counts as 1.
    pub fn healthy_threshold(mut self, checks: u32) -> Self {
        self.options.healthy_threshold = checks.max(1);
        self
    }

    /// Whether a new endpoint is used before its first check has ended. If not, it is unhealthy
    /// unless that check passes. Default: yes.
    pub fn use_unchecked(mut self, use_unchecked: bool) -> Self {
        self.options.use_unchecked = use_unchecked;
        self
    }

    /// How many checks may run at once. Default: 32; 0 counts as 1.
    ///
    /// Endpoints that do not answer cannot delay the others: a check that has run for 100 ms no
    /// longer counts, and whenever as many as may run at once have become silent so, twice as many
    /// may run, until one passes or fails before the timeout.
    pub fn checks_at_once(mut self, most: usize) -> Self {
        self.options.checks_at_once = most;
        self
    }

    /// If fewer than this percentage of all addresses are healthy or not checked yet, all are used,
    /// as if all were healthy, and the table is [in panic](crate::Endpoints::in_panic). 0 turns that
    /// off: if none is healthy, picks fail with
    /// [`NoEndpoints::Unhealthy`](crate::NoEndpoints::Unhealthy). Default: 50; more than 100 counts
    /// as 100.
    pub fn panic_percent(mut self, percent: u8) -> Self {
        self.options.panic_percent = percent.min(100);
        self
    }

    /// Starts the checks: derives the first table, and spawns the tasks.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as `tokio::spawn` does.
    pub fn build(self) -> ActiveHealth<S> {
        ActiveHealth::spawn(self.source, self.check, self.options)
    }
}

impl<S: EndpointSource> fmt::Debug for ActiveHealthBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveHealthBuilder")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) unhealthy_threshold: u32,
    pub(super) healthy_threshold: u32,
    pub(super) use_unchecked: bool,
    pub(super) checks_at_once: usize,
    pub(super) panic_percent: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            unhealthy_threshold: 3,
            healthy_threshold: 1,
            use_unchecked: true,
            checks_at_once: 32,
            panic_percent: PANIC_PERCENT,
        }
    }
}
