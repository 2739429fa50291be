//! A registry inside the process that behaves as etcd does, faults included.

mod book;
mod calls;
mod claim;
mod client;
mod faults;
mod fence;
mod history;
mod options;
mod registry;
mod session;
mod store;
mod watch;

pub use calls::Calls;
pub use client::MemoryClient;
pub use options::ClientOptions;
pub use registry::Registry;
pub use store::{Lease, Stored};
