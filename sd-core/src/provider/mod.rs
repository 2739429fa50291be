//! The provider's side: keeping a service registered.
//!
//! A [`Registrar`] asks its client to register, puts the entry back when it is lost (its lease
//! expired, its key was deleted), and removes it in the end. `registration_state` decides what to
//! do next, without I/O; the registrar's task carries that out, one action at a time. A [`RegistrarGroup`] is one
//! provider in several formats or registries. [`edit`](edit()) changes the entry of a provider from outside.
//!
//! This room imports `registry`, `instances` and `support`, and nothing of `consumer` or `calls`.

mod edit_entry;
mod key_value;
pub(crate) mod meters;
mod registrar;
mod registrar_group;
mod registration_state;
mod status;
mod value_format;

pub use edit_entry::{EditError, Edited, edit};
pub use registrar::{Registrar, RegistrarBuilder};
pub use registrar_group::{Need, RegistrarGroup};
pub use status::{RegistrarStatus, Updated};
