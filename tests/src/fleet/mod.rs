//! Providers and consumers, through which a test observes a fault.
//!
//! [`Provider`] and [`Consumer`] work on any client. They start on an etcd in real time, or (see
//! `memory`) on a registry in the same process, for paused time. [`RemoteProvider`] is a separate
//! process. Uses `etcd` and `process`.

mod consumer;
mod memory;
mod provider;
mod remote_provider;

pub use consumer::{Consumer, View};
pub use provider::Provider;
pub use remote_provider::RemoteProvider;
