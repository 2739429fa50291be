//! Following a service's instances.
//!
//! An [`Instancer`] lists a prefix once, watches from there, and publishes each state through the
//! event cache. The decisions (list, watch or wait; what is shown, what is held back) are the
//! mirror's, a state machine without I/O. [`MergedInstancer`] and [`FixedInstancer`] are sources
//! made of other sources, and of nothing.
//!
//! This room imports `registry`, `instances` and `support`, and nothing of `provider` or `calls`.

mod cache;
mod fixed;
mod instancer;
mod merge;
pub(crate) mod meters;
mod mirror;

#[cfg(test)]
pub(crate) use cache::{EventCache, EventReader};
pub use fixed::FixedInstancer;
pub use instancer::{Instancer, InstancerBuilder};
pub use merge::MergedInstancer;
