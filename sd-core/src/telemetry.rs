//! Metrics, for dashboards and alerts.
//!
//! With the feature `metrics` they go to the recorder of the [`metrics`](https://docs.rs/metrics)
//! facade. Install the recorder before you make the first client. Without the feature, nothing is
//! counted and there is no cost.
//!
//! | name | kind | labels | what it says |
//! |---|---|---|---|
//! | [`sd_instances`](INSTANCES) | gauge | `prefix` | instances shown, those held included |
//! | [`sd_instance_bytes`](INSTANCE_BYTES) | gauge | `prefix` | what the instances shown take in memory, by the formula of [`PrefixLimits`](crate::PrefixLimits) |
//! | [`sd_instances_held`](INSTANCES_HELD) | gauge | `prefix` | of those, the ones whose removal is held back |
//! | [`sd_mass_removals_total`](MASS_REMOVALS) | counter | `prefix` | removals of many instances at once that were held back |
//! | [`sd_sources_stale`](SOURCES_STALE) | gauge | `prefix` | instancers that do not follow the registry at the moment, or cannot list it at first; at the start until the registry has answered about the watch |
//! | [`sd_source_disruptions_total`](SOURCE_DISRUPTIONS) | counter | `prefix`, `cause`: `list`, `disrupted`, `interrupted`, `gap` | failures to follow, every attempt counted |
//! | [`sd_lists_total`](LISTS) | counter | `prefix` | successful lists: one at the start, one per gap |
//! | [`sd_entries_skipped_total`](ENTRIES_SKIPPED) | counter | `prefix` | entries that could not be read |
//! | [`sd_entries_over_limit_total`](ENTRIES_OVER_LIMIT) | counter | `prefix`, `limit`: `entry`, `prefix` | entries left out because of one of the [limits](crate::PrefixLimits); those of `entry` count as skipped too |
//! | [`sd_registrations`](REGISTRATIONS) | gauge | `state`: `registering`, `registered`, `unproven`, `reclaiming`, `taken`, `deregistering`, `superseded`, `failed` | registrars in this state |
//! | [`sd_registration_failures_total`](REGISTRATION_FAILURES) | counter | `phase`: `register`, `update`, `reclaim` | attempts that failed |
//! | [`sd_registration_lost_total`](REGISTRATION_LOST) | counter | `reason`: `lease_expired`, `key_deleted`, `rolled_back` | registrations lost that are to be put back |
//! | [`sd_registration_reclaimed_total`](REGISTRATION_RECLAIMED) | counter | | registrations that stand again |
//! | [`sd_registration_edited_total`](REGISTRATION_EDITED) | counter | | entries that somebody edited in the registry |
//! | [`sd_registration_taken_total`](REGISTRATION_TAKEN) | counter | | keys found in somebody else's hands |
//! | [`sd_deregistrations_total`](DEREGISTRATIONS) | counter | `outcome`: `removed`, `not_ours`, `unconfirmed` | deregistrations that ended |
//! | [`sd_endpoints`](ENDPOINTS) | gauge | | endpoints to pick from |
//! | [`sd_endpoints_failing`](ENDPOINTS_FAILING) | gauge | | addresses whose last run of the factory failed |
//! | [`sd_endpoints_invalidated`](ENDPOINTS_INVALIDATED) | gauge | | endpointers that return the error instead of old endpoints |
//! | [`sd_factory_failures_total`](FACTORY_FAILURES) | counter | | runs of a factory that failed |
//! | [`sd_endpoints_ejected`](ENDPOINTS_EJECTED) | gauge | | endpoints that an [`Ejection`](crate::Ejection) has taken out of use; in panic they are used in spite of that |
//! | [`sd_ejections_total`](EJECTIONS) | counter | `reason`: `consecutive_failures`, `success_rate`, `failure_percentage` | ejections |
//! | [`sd_endpoints_unhealthy`](ENDPOINTS_UNHEALTHY) | gauge | | endpoints that an [`ActiveHealth`](crate::ActiveHealth) has found to be unhealthy; in panic they are used in spite of that |
//! | [`sd_endpoints_unreachable`](ENDPOINTS_UNREACHABLE) | gauge | | endpoints that a [`Reachable`](crate::Reachable) leaves out, since their host cannot be connected to; if all are, they are used in spite of that |
//! | [`sd_health_check_failures_total`](HEALTH_CHECK_FAILURES) | counter | | health checks that failed |
//! | [`sd_endpoints_panic`](ENDPOINTS_PANIC) | gauge | | adapters that use all endpoints, since too few are healthy |
//! | [`sd_retries_total`](RETRIES) | counter | | attempts of a call after its first |
//! | [`sd_retry_failures_total`](RETRY_FAILURES) | counter | `reason`: `no_endpoints`, `not_retryable`, `attempts_used_up`, `timed_out`, `budget_spent` | calls that failed for good |
//!
//! Gauges are sums over the process: two instancers of one prefix count twice, and one that is
//! stopped or dropped subtracts what it added. Labels are bounded: the program chooses the
//! prefixes, and keys and addresses are never labels. Picks, and calls that succeed at once, are
//! not counted.
//!
//! The constants are the names, for alerts that are defined in code:
//!
//! ```
//! use sd_core::telemetry;
//!
//! let alert = format!("{} > 0 for 1m", telemetry::SOURCES_STALE);
//! assert_eq!(alert, "sd_sources_stale > 0 for 1m");
//! ```

pub use crate::calls::meters::{
    EJECTIONS, ENDPOINTS, ENDPOINTS_EJECTED, ENDPOINTS_FAILING, ENDPOINTS_INVALIDATED,
    ENDPOINTS_PANIC, ENDPOINTS_UNHEALTHY, ENDPOINTS_UNREACHABLE, FACTORY_FAILURES,
    HEALTH_CHECK_FAILURES, RETRIES, RETRY_FAILURES,
};
pub use crate::consumer::meters::{
    ENTRIES_OVER_LIMIT, ENTRIES_SKIPPED, INSTANCE_BYTES, INSTANCES, INSTANCES_HELD, LISTS,
    MASS_REMOVALS, SOURCE_DISRUPTIONS, SOURCES_STALE,
};
pub use crate::provider::meters::{
    DEREGISTRATIONS, REGISTRATION_EDITED, REGISTRATION_FAILURES, REGISTRATION_LOST,
    REGISTRATION_RECLAIMED, REGISTRATION_TAKEN, REGISTRATIONS,
};
