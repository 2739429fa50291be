//! Keeping a service registered.
//!
//! A [`Registrar`] asks its client to register, puts back what is lost, and removes what it
//! registered. The decisions are a state machine without I/O; the registrar's task carries them
//! out, one at a time.
//!
//! This room imports `registry`, `instances` and `support`, and nothing of `consumer` or `calls`.

pub(crate) mod meters;
mod registrar;
mod status;
mod tenure;

pub use registrar::{Registrar, RegistrarBuilder};
pub use status::{RegistrarStatus, Updated};
