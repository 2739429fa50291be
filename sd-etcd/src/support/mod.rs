//! What the rooms share: delays, timers, tasks, threads that nobody waits for, and the way to the
//! metrics. Imports no other room.

mod detached;
mod metering;
mod tasks;
mod timing;

pub(crate) use detached::run_detached;
pub(crate) use metering::{GaugeGuard, Share, count};
#[cfg(test)]
pub(crate) use sd_test_support::{Log, cases};
pub(crate) use tasks::spawn;
pub(crate) use timing::{MovingTimer, finish, retry_backoff, sleep_until_some};
