//! Metrics of the backend, beside [those of the layers above](sd_core::telemetry).
//!
//! With the feature `metrics` they go to the recorder of the [`metrics`](https://docs.rs/metrics)
//! facade, which the program installs before it makes its first client.
//!
//! | name | kind | labels | what it says |
//! |---|---|---|---|
//! | [`sd_etcd_connections_given_up_total`](CONNECTIONS_GIVEN_UP) | counter | `purpose`: `watches`, `leases` | connections that did not work any more, or never did |
//! | [`sd_etcd_silences_total`](SILENCES) | counter | | times that etcd said nothing for too long |
//! | [`sd_etcd_watches`](WATCHES) | gauge | | watches that etcd holds for this process |
//! | [`sd_etcd_watch_interruptions_total`](WATCH_INTERRUPTIONS) | counter | | watches that ended with their connection |
//! | [`sd_etcd_leases`](LEASES) | gauge | | leases that this process keeps alive |
//! | [`sd_etcd_leases_lost_total`](LEASES_LOST) | counter | | leases that etcd said to be gone |
//! | [`sd_etcd_keepalive_failures_total`](KEEPALIVE_FAILURES) | counter | | keep-alive streams that broke or could not be opened |
//! | [`sd_etcd_verifications_denied_total`](VERIFICATIONS_DENIED) | counter | | looks at the keys on a lease that etcd did not allow |
//! | [`sd_etcd_stray_keys_total`](STRAY_KEYS) | counter | | keys on a lease of ours that nobody held, and that were removed |
//!
//! Gauges are sums over the clients of the process.

pub(crate) use facade::Counted;
use facade::count;

/// Connections that did not work any more, or never did.
pub const CONNECTIONS_GIVEN_UP: &str = "sd_etcd_connections_given_up_total";
/// Times that etcd said nothing for too long.
pub const SILENCES: &str = "sd_etcd_silences_total";
/// Watches that etcd holds for this process.
pub const WATCHES: &str = "sd_etcd_watches";
/// Watches that ended with their connection.
pub const WATCH_INTERRUPTIONS: &str = "sd_etcd_watch_interruptions_total";
/// Leases that this process keeps alive.
pub const LEASES: &str = "sd_etcd_leases";
/// Leases that etcd said to be gone.
pub const LEASES_LOST: &str = "sd_etcd_leases_lost_total";
/// Keep-alive streams that broke or could not be opened.
pub const KEEPALIVE_FAILURES: &str = "sd_etcd_keepalive_failures_total";
/// Looks at the keys on a lease that etcd did not allow.
pub const VERIFICATIONS_DENIED: &str = "sd_etcd_verifications_denied_total";
/// Keys on a lease of ours that nobody held.
pub const STRAY_KEYS: &str = "sd_etcd_stray_keys_total";

pub(crate) fn connection_given_up(purpose: &'static str) {
    count(CONNECTIONS_GIVEN_UP, Some(("purpose", purpose)), 1);
}

pub(crate) fn silent() {
    count(SILENCES, None, 1);
}

pub(crate) fn watches_interrupted(watches: usize) {
    count(WATCH_INTERRUPTIONS, None, watches as u64);
}

pub(crate) fn lease_lost() {
    count(LEASES_LOST, None, 1);
}

pub(crate) fn keepalive_failed() {
    count(KEEPALIVE_FAILURES, None, 1);
}

pub(crate) fn verification_denied() {
    count(VERIFICATIONS_DENIED, None, 1);
}

pub(crate) fn stray_found() {
    count(STRAY_KEYS, None, 1);
}

/// What there is of the `metrics` crate here, or nothing.
#[cfg(feature = "metrics")]
mod facade {
    use metrics::{Gauge, Label, counter, gauge};

    pub(super) fn count(name: &'static str, label: Option<(&'static str, &'static str)>, by: u64) {
        let labels = label.map(|(name, value)| Label::from_static_parts(name, value));
        counter!(name, labels.into_iter().collect::<Vec<_>>()).increment(by);
    }

    /// One of what a gauge counts, for as long as it lives.
    pub(crate) struct Counted(Gauge);

    impl Counted {
        pub(crate) fn new(name: &'static str) -> Self {
            let gauge = gauge!(name);
            gauge.increment(1.0);
            Self(gauge)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.decrement(1.0);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod facade {
    pub(super) fn count(_: &'static str, _: Option<(&'static str, &'static str)>, _: u64) {}

    pub(crate) struct Counted;

    impl Counted {
        pub(crate) fn new(_: &'static str) -> Self {
            Self
        }
    }
}
