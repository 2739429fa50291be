//! The toolkit in a world of its own: many providers and consumers on one memory registry, on
//! paused time, with everything that can go wrong going wrong.
//!
//! All of it runs on one thread and is drawn from one seed, so that a seed repeats exactly: a run
//! that breaks a promise can be looked at again and again. Hours take a second or so.
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
//! A plan can be cut down and stay one, and [`shrink`] does so: what is left of it when a promise is
//! still broken is short enough to become a test.

mod consumer;
pub mod faults;
mod foreign;
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
pub use plan::{Action, Kind, Plan, Reload, Step};

use tokio::runtime::Builder;
use world::World;

/// Lives through `plan` and gives its history, which says whether a promise was broken.
///
/// Seeds this thread's generator of random numbers.
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

/// The plan without the steps that the broken promise does not need; the same plan, if none is
/// broken.
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
