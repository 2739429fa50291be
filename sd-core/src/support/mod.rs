//! What the rooms share: pauses between attempts, warnings once per outage, and the way to the
//! metrics. Imports `registry` at most.

#[cfg(test)]
mod lines;
mod metering;
mod pauses;
#[cfg(test)]
mod properties;
mod warnings;

#[cfg(test)]
pub(crate) use lines::Lines;
pub(crate) use metering::{Share, count};
pub(crate) use pauses::jittered;
#[cfg(test)]
pub(crate) use properties::{cases, denied, down};
pub(crate) use warnings::{Gravity, Warnings};
