//! Providers and consumers, the two sides from which a test sees a fault.
//!
//! [`Provider`] and [`Consumer`] work on any client. They start on an etcd in real time, or, in
//! `memory`, on a registry in the same process, for a paused clock. [`RemoteProvider`] is a process
//! of its own. Uses `etcd` and `process`.

mod consumer;
mod memory;
mod provider;
mod remote_provider;

pub use consumer::{Consumer, View};
pub use provider::Provider;
pub use remote_provider::RemoteProvider;
