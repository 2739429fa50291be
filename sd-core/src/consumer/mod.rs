//! The consumer's side: following the instances of a service.
//!
//! An [`Instancer`] lists a prefix once, watches from there, and publishes each state through an
//! [`EventPublisher`](crate::instances::EventPublisher). `mirror`, a state machine without I/O,
//! decides what to do next (list, watch or wait, for example after a gap), which instances are
//! shown, and which removals are held back; [`PrefixLimits`] bound what is kept. With the feature `snapshot` a
//! `SnapshotFile` is what it begins with while the registry is down. [`MergedInstancer`] is the union of other
//! sources, and [`FixedInstancer`] a source whose states the program sets.
//!
//! This room imports `registry`, `instances` and `support`, and nothing of `provider` or `calls`.

mod fixed;
mod instancer;
mod merge;
pub(crate) mod meters;
mod mirror;
mod prefix_limits;
#[cfg(feature = "snapshot")]
mod snapshot_file;
#[cfg(test)]
mod testing;

pub use fixed::FixedInstancer;
pub use instancer::{Instancer, InstancerBuilder};
pub use merge::{MemberStatus, MergedInstancer, ReadyWhen};
#[cfg(feature = "fuzzing")]
pub use mirror::fuzzing::mirror as fuzz_mirror;
pub use prefix_limits::PrefixLimits;
#[cfg(feature = "snapshot")]
pub use snapshot_file::SnapshotFile;
