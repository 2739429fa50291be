//! Adapters: endpoint sources over another endpoint source.
//!
//! Each follows the table of its source, derives a table of its own and is an
//! [`EndpointSource`](crate::EndpointSource) itself, so that they stack in any order. Its page says
//! which order is recommended.
//!
//! All of them derive their table with [`DerivedSource`](super::derived). `tests.rs` stacks any two
//! of them.

mod active_health;
mod ejection;
mod fault_log;
mod lanes;
mod observed;
mod panic_threshold;
mod reachable;
mod rendezvous;
mod slow_start;
mod subset;
#[cfg(test)]
mod tests;
mod zone_preference;

#[cfg(feature = "tcp")]
pub use active_health::TcpConnect;
pub use active_health::{
    ActiveHealth, ActiveHealthBuilder, HealthCheck, HealthCheckError, HealthStatus,
    UnhealthyEndpoint,
};
pub use ejection::{
    EjectedEndpoint, Ejection, EjectionBuilder, EjectionReason, EjectionStatus,
    FailurePercentageEjection, SuccessRateEjection,
};
pub use lanes::{Lane, LaneBalancer, LaneFallback, Lanes, LanesBuilder};
pub use observed::Observed;
pub use reachable::{Reachable, ReachableStatus, UnreachableEndpoint};
pub use slow_start::{SlowStart, SlowStartBuilder};
pub use subset::{Subset, SubsetBuilder};
pub use zone_preference::{ZonePreference, ZonePreferenceBuilder};

use std::time::Duration;

/// Shorter intervals in options count as this one, the resolution of tokio's timers.
const SHORTEST: Duration = Duration::from_millis(1);
/// Longer times in options count as this one, so that no time lies beyond what a clock can show.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);
