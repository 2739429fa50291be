//! Harnesses for the conformance suite: one for each backend, and one for wrong clients.
//!
//! [`MemoryHarness`] and [`EtcdHarness`] show that the backends keep the contract. The
//! [`wrong_clients`] break one promise each, to show that the suite notices it.

mod etcd;
mod memory;
pub mod wrong_clients;

pub use etcd::EtcdHarness;
pub use memory::MemoryHarness;
