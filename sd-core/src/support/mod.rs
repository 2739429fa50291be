//! Support: what the other rooms share. Delays between attempts, owners of background tasks,
//! catching panics in foreign code, published statuses, warnings once per outage, and access to the
//! metrics.
//!
//! This room imports `registry`, and nothing else.

mod background_task;
mod backoff;
#[cfg(test)]
mod errors;
mod metering;
mod panics;
mod restartable_task;
mod status_receiver;
mod warnings;

pub(crate) use background_task::{BackgroundTask, Work};
pub use backoff::Backoff;
#[cfg(test)]
pub(crate) use errors::{denied, down};
pub(crate) use metering::{Share, count};
pub(crate) use panics::{Panicked, catch, catch_async};
pub(crate) use restartable_task::{RestartableTask, RestartableWork};
#[cfg(test)]
pub(crate) use sd_test_support::{Log, cases};
pub use status_receiver::StatusReceiver;
pub(crate) use warnings::{Severity, Warnings};
