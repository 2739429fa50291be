//! Following a service's instances.
//!
//! An [`Instancer`] lists a prefix once, watches from there, and publishes each state through an
//! [`EventPublisher`](crate::instances::EventPublisher). The decisions (list, watch or wait; which
//! instances are shown, which removals are held back) are made by the mirror, a state machine
//! without I/O. [`MergedInstancer`] is the union of other sources, and [`FixedInstancer`] a source
//! whose states are set by hand.
//!
//! This room imports `registry`, `instances` and `support`, and nothing of `provider` or `calls`.

mod fixed;
mod instancer;
mod merge;
pub(crate) mod meters;
mod mirror;
#[cfg(test)]
mod testing;

pub use fixed::FixedInstancer;
pub use instancer::{Instancer, InstancerBuilder};
pub use merge::MergedInstancer;
