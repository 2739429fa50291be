//! Servers that register themselves: a [`RegisteredServer`] around an axum or tonic server, or any other.
//!
//! It registers when the server can be called, and ends so that no call fails: consumers are told, the
//! entries are removed, late calls are served, and only then are connections closed. [`Advertise`] finds
//! the address to register.

mod advertise;
mod incoming;
mod phases;
mod registered_server;
mod status;
mod stop;

pub use advertise::{Advertise, AdvertiseError};
pub use incoming::{Incoming, IncomingConnection};
pub use registered_server::RegisteredServer;
pub use status::{ServeError, Served, ServerStatus};
