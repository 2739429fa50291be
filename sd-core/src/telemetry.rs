//! Metrics: what an operator looks at and is woken by.
//!
//! With the feature `metrics` they go to the recorder of the [`metrics`](https://docs.rs/metrics)
//! facade, which the program installs before it makes its first client; without it, nothing is
//! counted and nothing is paid for.
//!
//! | name | kind | labels | what it says |
//! |---|---|---|---|
//! | [`sd_instances`](INSTANCES) | gauge | `prefix` | instances shown, those held included |
//! | [`sd_instances_held`](INSTANCES_HELD) | gauge | `prefix` | of those, the ones whose removal is held back |
//! | [`sd_sources_stale`](SOURCES_STALE) | gauge | `prefix` | instancers that do not follow the registry at the moment, or cannot list it at first |
//! | [`sd_source_disruptions_total`](SOURCE_DISRUPTIONS) | counter | `prefix`, `cause`: `list`, `disrupted`, `interrupted`, `gap` | failures to follow, every attempt counted |
//! | [`sd_lists_total`](LISTS) | counter | `prefix` | successful lists: one at the start, one per gap |
//! | [`sd_entries_skipped_total`](ENTRIES_SKIPPED) | counter | `prefix` | entries that could not be read |
//! | [`sd_registrations`](REGISTRATIONS) | gauge | `state`: `registering`, `registered`, `reclaiming`, `taken`, `deregistering`, `superseded`, `failed` | registrars in this state |
//! | [`sd_registration_failures_total`](REGISTRATION_FAILURES) | counter | `phase`: `register`, `update`, `reclaim` | attempts that failed |
//! | [`sd_registration_lost_total`](REGISTRATION_LOST) | counter | `reason`: `lease_expired`, `key_deleted` | registrations lost that are to be put back |
//! | [`sd_registration_reclaimed_total`](REGISTRATION_RECLAIMED) | counter | | registrations that stand again |
//! | [`sd_registration_taken_total`](REGISTRATION_TAKEN) | counter | | keys found in somebody else's hands |
//! | [`sd_deregistrations_total`](DEREGISTRATIONS) | counter | `outcome`: `removed`, `not_ours`, `unconfirmed` | deregistrations that ended |
//! | [`sd_endpoints`](ENDPOINTS) | gauge | | endpoints to pick from |
//! | [`sd_endpoints_failing`](ENDPOINTS_FAILING) | gauge | | instances whose factory failed last |
//! | [`sd_endpoints_invalidated`](ENDPOINTS_INVALIDATED) | gauge | | endpointers that give the error instead of old endpoints |
//! | [`sd_factory_failures_total`](FACTORY_FAILURES) | counter | | runs of a factory that failed |
//! | [`sd_retries_total`](RETRIES) | counter | | attempts of a call after its first |
//! | [`sd_retry_failures_total`](RETRY_FAILURES) | counter | `reason`: `no_endpoints`, `not_retryable`, `attempts_used_up`, `timed_out`, `budget_spent` | calls that failed for good |
//!
//! Gauges are sums over what lives in the process: two instancers of one prefix count twice, and
//! whoever is stopped or dropped takes back what it added. Labels are bounded: a prefix is chosen by
//! the program, and keys and addresses are never labels. Nothing is counted per call that succeeds
//! at once, nor per pick.

use crate::{Deregistered, Lost, RegistrarStatus, Stopped, Trouble, WatchError};
use facade::{Share, count};

/// Instances shown, those held included.
pub const INSTANCES: &str = "sd_instances";
/// Instances whose removal is held back.
pub const INSTANCES_HELD: &str = "sd_instances_held";
/// Instancers that do not follow the registry at the moment.
pub const SOURCES_STALE: &str = "sd_sources_stale";
/// Failures to follow the registry.
pub const SOURCE_DISRUPTIONS: &str = "sd_source_disruptions_total";
/// Successful lists.
pub const LISTS: &str = "sd_lists_total";
/// Entries that could not be read.
pub const ENTRIES_SKIPPED: &str = "sd_entries_skipped_total";
/// Registrars by state.
pub const REGISTRATIONS: &str = "sd_registrations";
/// Attempts to register, to update or to reclaim that failed.
pub const REGISTRATION_FAILURES: &str = "sd_registration_failures_total";
/// Registrations that were lost.
pub const REGISTRATION_LOST: &str = "sd_registration_lost_total";
/// Registrations that were lost and stand again.
pub const REGISTRATION_RECLAIMED: &str = "sd_registration_reclaimed_total";
/// Keys found in somebody else's hands.
pub const REGISTRATION_TAKEN: &str = "sd_registration_taken_total";
/// Deregistrations by outcome.
pub const DEREGISTRATIONS: &str = "sd_deregistrations_total";
/// Endpoints to pick from.
pub const ENDPOINTS: &str = "sd_endpoints";
/// Instances whose factory failed last.
pub const ENDPOINTS_FAILING: &str = "sd_endpoints_failing";
/// Endpointers that give the error instead of old endpoints.
pub const ENDPOINTS_INVALIDATED: &str = "sd_endpoints_invalidated";
/// Runs of a factory that failed.
pub const FACTORY_FAILURES: &str = "sd_factory_failures_total";
/// Attempts of a call after its first.
pub const RETRIES: &str = "sd_retries_total";
/// Calls that failed for good.
pub const RETRY_FAILURES: &str = "sd_retry_failures_total";

// === A source ===

/// What an instancer says of itself.
pub(crate) struct SourceMeters {
    prefix: String,
    instances: Share,
    held: Share,
    stale: Share,
}

impl SourceMeters {
    pub(crate) fn new(prefix: &str) -> Self {
        let of = |name| Share::new(name, &[("prefix", prefix)]);
        Self {
            prefix: prefix.to_owned(),
            instances: of(INSTANCES),
            held: of(INSTANCES_HELD),
            stale: of(SOURCES_STALE),
        }
    }

    pub(crate) fn shows(&mut self, instances: usize, held: usize) {
        self.instances.set(instances);
        self.held.set(held);
    }

    pub(crate) fn listed(&self) {
        count(LISTS, &[("prefix", &self.prefix)], 1);
    }

    pub(crate) fn skipped(&self, entries: u64) {
        if entries > 0 {
            count(ENTRIES_SKIPPED, &[("prefix", &self.prefix)], entries);
        }
    }

    pub(crate) fn disrupted(&mut self, why: &Trouble) {
        self.stale.set(1);
        let cause = match why {
            Trouble::List(_) => "list",
            Trouble::Watch(WatchError::Disrupted(_)) => "disrupted",
            Trouble::Watch(WatchError::Interrupted(_)) => "interrupted",
            Trouble::Watch(WatchError::Gap(_)) => "gap",
            Trouble::Stopped => return,
        };
        let labels = [("prefix", self.prefix.as_str()), ("cause", cause)];
        count(SOURCE_DISRUPTIONS, &labels, 1);
    }

    pub(crate) fn recovered(&mut self) {
        self.stale.set(0);
    }
}

// === A registrar ===

/// What a registrar says of itself.
#[derive(Default)]
pub(crate) struct RegistrarMeters {
    state: Option<(&'static str, Share)>,
}

impl RegistrarMeters {
    /// The status changed from `old` to `new`.
    pub(crate) fn turned(&mut self, old: &RegistrarStatus, new: &RegistrarStatus) {
        let state = state(new);
        if self.state.as_ref().map(|(name, _)| *name) != state {
            self.state = state.map(|name| {
                let mut share = Share::new(REGISTRATIONS, &[("state", name)]);
                share.set(1);
                (name, share)
            });
        }
        match new {
            RegistrarStatus::Registering { error: Some(_), .. } => failed("register"),
            RegistrarStatus::Registered { error: Some(_), .. } => failed("update"),
            RegistrarStatus::Reclaiming { error: Some(_), .. } => failed("reclaim"),
            RegistrarStatus::Reclaiming { lost, .. } => lost_to(lost),
            RegistrarStatus::Registered { .. } => {
                let was_lost = matches!(
                    old,
                    RegistrarStatus::Reclaiming { .. } | RegistrarStatus::Taken { .. }
                );
                if was_lost {
                    count(REGISTRATION_RECLAIMED, &[], 1);
                }
            }
            RegistrarStatus::Taken { .. } => count(REGISTRATION_TAKEN, &[], 1),
            RegistrarStatus::Failed(_) => failed("register"),
            RegistrarStatus::Deregistered(outcome) => deregistered(*outcome),
            _ => {}
        }
    }
}

/// The states worth a gauge: those in which a registrar has something to do, or to answer for.
fn state(status: &RegistrarStatus) -> Option<&'static str> {
    match status {
        RegistrarStatus::Registering { .. } => Some("registering"),
        RegistrarStatus::Registered { .. } => Some("registered"),
        RegistrarStatus::Reclaiming { .. } => Some("reclaiming"),
        RegistrarStatus::Taken { .. } => Some("taken"),
        RegistrarStatus::Deregistering => Some("deregistering"),
        RegistrarStatus::Superseded => Some("superseded"),
        RegistrarStatus::Failed(_) => Some("failed"),
        RegistrarStatus::Idle | RegistrarStatus::Deregistered(_) | RegistrarStatus::Closed => None,
    }
}

fn failed(phase: &'static str) {
    count(REGISTRATION_FAILURES, &[("phase", phase)], 1);
}

fn lost_to(lost: &Lost) {
    count(REGISTRATION_LOST, &[("reason", reason(lost))], 1);
}

fn deregistered(outcome: Deregistered) {
    let outcome = match outcome {
        Deregistered::Removed => "removed",
        Deregistered::NotOurs => "not_ours",
        Deregistered::Unconfirmed => "unconfirmed",
    };
    count(DEREGISTRATIONS, &[("outcome", outcome)], 1);
}

/// How a registration was lost, in a word.
pub(crate) fn reason(lost: &Lost) -> &'static str {
    match lost {
        Lost::LeaseExpired => "lease_expired",
        Lost::KeyDeleted => "key_deleted",
        Lost::Taken { .. } => "taken",
        Lost::Superseded => "superseded",
        Lost::Deregistered => "deregistered",
        Lost::Closed => "closed",
    }
}

// === An endpointer ===

/// What an endpointer says of itself.
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

    pub(crate) fn has(&mut self, endpoints: usize, failing: usize, invalidated: bool) {
        self.endpoints.set(endpoints);
        self.failing.set(failing);
        self.invalidated.set(usize::from(invalidated));
    }
}

pub(crate) fn factory_failed() {
    count(FACTORY_FAILURES, &[], 1);
}

// === A call ===

pub(crate) fn retried() {
    count(RETRIES, &[], 1);
}

pub(crate) fn call_failed(why: Stopped) {
    let reason = match why {
        Stopped::NoEndpoints => "no_endpoints",
        Stopped::NotRetryable => "not_retryable",
        Stopped::AttemptsUsedUp => "attempts_used_up",
        Stopped::TimedOut => "timed_out",
        Stopped::BudgetSpent => "budget_spent",
    };
    count(RETRY_FAILURES, &[("reason", reason)], 1);
}

/// What there is of the `metrics` crate here, or nothing.
#[cfg(feature = "metrics")]
mod facade {
    use metrics::{Gauge, Label, counter, gauge};

    fn owned(labels: &[(&'static str, &str)]) -> Vec<Label> {
        let labels = labels.iter();
        let label = |(name, value): &(&'static str, &str)| Label::new(*name, (*value).to_owned());
        labels.map(label).collect()
    }

    pub(super) fn count(name: &'static str, labels: &[(&'static str, &str)], by: u64) {
        counter!(name, owned(labels)).increment(by);
    }

    /// What one owner adds to a gauge. Taken back when it is dropped, from the recorder that it was
    /// given to.
    pub(super) struct Share {
        gauge: Gauge,
        added: usize,
    }

    impl Share {
        pub(super) fn new(name: &'static str, labels: &[(&'static str, &str)]) -> Self {
            let gauge = gauge!(name, owned(labels));
            // There from the start, so that a dashboard shows zero rather than nothing.
            gauge.increment(0.0);
            Self { gauge, added: 0 }
        }

        pub(super) fn set(&mut self, value: usize) {
            let before = std::mem::replace(&mut self.added, value);
            if value != before {
                self.gauge.increment(value as f64 - before as f64);
            }
        }
    }

    impl Drop for Share {
        fn drop(&mut self) {
            self.set(0);
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod facade {
    pub(super) fn count(_: &'static str, _: &[(&'static str, &str)], _: u64) {}

    pub(super) struct Share;

    impl Share {
        pub(super) fn new(_: &'static str, _: &[(&'static str, &str)]) -> Self {
            Self
        }

        pub(super) fn set(&mut self, _: usize) {}
    }
}
