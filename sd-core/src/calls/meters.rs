//! The metrics of endpointers and calls.

use crate::support::{Share, count};

/// Endpoints to pick from.
pub const ENDPOINTS: &str = "sd_endpoints";
/// Addresses whose last run of the factory failed.
pub const ENDPOINTS_FAILING: &str = "sd_endpoints_failing";
/// Endpointers that return the error instead of old endpoints.
pub const ENDPOINTS_INVALIDATED: &str = "sd_endpoints_invalidated";
/// Runs of a factory that failed.
pub const FACTORY_FAILURES: &str = "sd_factory_failures_total";
/// Endpoints that are ejected.
pub const ENDPOINTS_EJECTED: &str = "sd_endpoints_ejected";
/// Adapters that use all endpoints, since too few are healthy.
pub const ENDPOINTS_PANIC: &str = "sd_endpoints_panic";
/// Endpoints that have failed their health checks.
pub const ENDPOINTS_UNHEALTHY: &str = "sd_endpoints_unhealthy";
/// Endpoints whose host cannot be connected to.
pub const ENDPOINTS_UNREACHABLE: &str = "sd_endpoints_unreachable";
/// Health checks that failed.
pub const HEALTH_CHECK_FAILURES: &str = "sd_health_check_failures_total";
/// Ejections of an endpoint.
pub const EJECTIONS: &str = "sd_ejections_total";
/// Attempts of a call after its first.
pub const RETRIES: &str = "sd_retries_total";
/// Calls that failed for good.
pub const RETRY_FAILURES: &str = "sd_retry_failures_total";

/// The gauges of one endpointer.
pub(crate) struct EndpointerMeters {
    endpoints: Share,
    failing: Share,
    invalidated: Share,
}

impl EndpointerMeters {
    pub(crate) fn new() -> Self {
        Self {
            endpoints: Share::new(ENDPOINTS, &[]),
            failing: Share::new(ENDPOINTS_FAILING, &[]),
            invalidated: Share::new(ENDPOINTS_INVALIDATED, &[]),
        }
    }

    pub(crate) fn set(&mut self, endpoints: usize, failing: usize, invalidated: bool) {
        self.endpoints.set(endpoints);
        self.failing.set(failing);
        self.invalidated.set(usize::from(invalidated));
    }
}

/// The metrics of one ejection.
pub(super) struct EjectionMeters {
    ejected: Share,
}

impl EjectionMeters {
    pub(super) fn new() -> Self {
        Self {
            ejected: Share::new(ENDPOINTS_EJECTED, &[]),
        }
    }

    pub(super) fn set(&mut self, ejected: usize) {
        self.ejected.set(ejected);
    }

    /// Counts an ejection. [`telemetry`](crate::telemetry) lists the values of `reason`.
    pub(super) fn ejected(&self, reason: &'static str) {
        count(EJECTIONS, &[("reason", reason)], 1);
    }
}

/// The gauge of one active health check.
pub(super) struct HealthMeter(Share);

impl HealthMeter {
    pub(super) fn new() -> Self {
        Self(Share::new(ENDPOINTS_UNHEALTHY, &[]))
    }

    pub(super) fn set(&mut self, unhealthy: usize) {
        self.0.set(unhealthy);
    }
}

/// The gauge of one selection of reachable endpoints.
pub(super) struct ReachableMeter(Share);

impl ReachableMeter {
    pub(super) fn new() -> Self {
        Self(Share::new(ENDPOINTS_UNREACHABLE, &[]))
    }

    pub(super) fn set(&mut self, unreachable: usize) {
        self.0.set(unreachable);
    }
}

pub(super) fn health_check_failed() {
    count(HEALTH_CHECK_FAILURES, &[], 1);
}

/// Whether one adapter is in panic.
pub(super) struct PanicMeter(Share);

impl PanicMeter {
    pub(super) fn new() -> Self {
        Self(Share::new(ENDPOINTS_PANIC, &[]))
    }

    pub(super) fn set(&mut self, in_panic: bool) {
        self.0.set(usize::from(in_panic));
    }
}

pub(crate) fn factory_failed() {
    count(FACTORY_FAILURES, &[], 1);
}

pub(crate) fn retried() {
    count(RETRIES, &[], 1);
}

/// Counts a failed call. [`telemetry`](crate::telemetry) lists the values of `reason`.
pub(crate) fn call_failed(reason: &'static str) {
    count(RETRY_FAILURES, &[("reason", reason)], 1);
}
