//! What the rooms share: delays between attempts, the owner of a background task, panics in
//! foreign code, warnings once per outage, and the way to the metrics. Imports `registry` at most.

mod background_task;
mod backoff;
#[cfg(test)]
mod lines;
mod metering;
mod panics;
#[cfg(test)]
mod properties;
mod warnings;

pub(crate) use background_task::{BackgroundTask, Work};
pub use backoff::Backoff;
#[cfg(test)]
pub(crate) use lines::Lines;
pub(crate) use metering::{Share, count};
pub(crate) use panics::{Panicked, catch, catch_async};
#[cfg(test)]
pub(crate) use properties::{cases, denied, down};
pub(crate) use warnings::{Severity, Warnings};
