//! Means for tests.

mod memory;
pub mod wrong_clients;

pub use memory::MemoryHarness;
