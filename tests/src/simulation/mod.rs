//! Simulations: many providers and consumers on one memory registry, on paused time, with random
//! faults.
//!
//! A run uses one thread and draws everything from one seed, so the same seed repeats exactly, and
//! a run that breaks a promise can be examined. Hours of simulated time take about a second.
//!
//! ```
//! use sd_tests::simulation::{Plan, simulate};
//! use std::time::Duration;
//!
//! let plan = Plan::draw(7, Duration::from_secs(600));
//! let history = simulate(&plan);
//! assert_eq!(history.violation(), None, "{plan}{history}");
//! assert_eq!(simulate(&plan).digest(), history.digest());
//! ```
//!
//! # What must be true
//! - *Always*: nobody puts anything after it has deregistered or died; what a consumer shows follows
//!   the registry, and neither makes anything up nor goes back; a removal waits for the grace period
//!   after trouble, unless it was announced; no consumer is emptied while a provider lives whose entry
//!   nobody has replaced; no fault makes a hot loop; a deregistration returns within its bound.
//!   Who calls itself proven had a keep-alive acknowledged within the TTL, and 10 ms.
//! - *After calm*: whoever is to be registered stands, and nobody else; every consumer is live and
//!   shows just what is there.
//! - *A reload* (new registrars of the same keys on one client, while the old ones drain, go on for a
//!   while, or are dropped, in the middle of a call too): the registrar of a key that was told to
//!   register last stands.
//! - *A rollback* (the registry is put back to a backup, its counter bumped or not): every living
//!   provider's key is back, however long the entry lives that a predecessor had when the backup was
//!   made.
//! - *A mass loss* (all leases end at once; providers are cut off, and no consumer is): a consumer
//!   never loses more than half of three or more instances within its grace period, unless they
//!   announced it. After the end of all leases it is not empty for that long.
//! - *Stalls* (1.3 s every 6 s): what is gone is shown for three grace periods at most.
//! - *Panics* of codecs, factories, targets and clients: one entry, endpoint or call is lost, or the
//!   last state that is shown says that it has ended.
//!
//! A plan can be cut down and stay one, and [`shrink`] does so: what is left of it when a promise is
//! still broken is short enough to become a test.

mod consumer;
pub mod faults;
mod foreign;
mod history;
mod invariants;
mod mass_loss;
mod offer;
mod outages;
mod plan;
mod provider;
mod registry_log;
mod view;
mod world;

pub use history::History;
pub use plan::{Action, Kind, Plan, Reload, Step};

use tokio::runtime::Builder;
use world::World;

/// Runs `plan` and returns its history, which says whether a promise was broken.
///
/// Seeds this thread's random number generator.
///
/// # Panics
/// Within a tokio runtime.
pub fn simulate(plan: &Plan) -> History {
    fastrand::seed(plan.seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    runtime.block_on(async { World::new(plan).run(plan).await })
}

/// Returns the plan without the steps that are not needed to break the promise. If no promise is
/// broken, returns the same plan.
pub fn shrink(plan: &Plan) -> Plan {
    let mut least = plan.clone();
    if simulate(&least).violation().is_none() {
        return least;
    }
    let mut chunk = least.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < least.steps.len() {
            let mut fewer = least.clone();
            let to = (from + chunk).min(fewer.steps.len());
            fewer.steps.drain(from..to);
            if simulate(&fewer).violation().is_some() {
                least = fewer;
            } else {
                from += chunk;
            }
        }
        chunk /= 2;
    }
    least
}
