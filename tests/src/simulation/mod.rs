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
//! Any part of a plan is a valid plan. [`shrink`] removes the steps that are not needed to break
//! the promise; the rest is short enough to become a test.

mod consumer;
pub mod faults;
mod history;
mod invariants;
mod offer;
mod outages;
mod plan;
mod provider;
mod registry_log;
mod view;
mod world;

pub use history::History;
pub use plan::{Action, Plan, Step};

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
