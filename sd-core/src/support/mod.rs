//! What the rooms share: delays between attempts, the owners of background tasks, panics in foreign
//! code, published statuses, how often a line is logged, and the way to the metrics. Imports `registry`
//! at most.

mod background_task;
mod backoff;
#[cfg(test)]
mod errors;
mod line_quota;
mod log_throttle;
mod metering;
mod panics;
mod restartable_task;
mod status_receiver;
mod warnings;

pub(crate) use background_task::{BackgroundTask, Work};
pub use backoff::Backoff;
#[cfg(test)]
pub(crate) use errors::{denied, down};
pub(crate) use line_quota::LineQuota;
pub(crate) use log_throttle::LogThrottle;
pub(crate) use metering::{Share, count};
pub(crate) use panics::{Panicked, catch, catch_async};
pub(crate) use restartable_task::{RestartableTask, RestartableWork};
#[cfg(test)]
pub(crate) use sd_test_support::{Log, cases};
pub use status_receiver::StatusReceiver;
pub(crate) use warnings::{Severity, Warnings};
