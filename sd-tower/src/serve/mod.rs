//! Servers that register themselves: a [`RegisteredServer`] around an axum or tonic server, or any other.
//!
//! It registers when the server can be called, and ends so that no call fails: consumers are told, the
//! entries are removed, late calls are served, and only then are connections closed. [`Advertise`] finds
//! the address to register.

mod advertise;
mod advertise_error;
mod connection;
mod incoming;
mod phases;
mod registered_server;
mod status;
mod stop;

pub use advertise::Advertise;
pub use advertise_error::AdvertiseError;
pub use connection::IncomingConnection;
pub use incoming::Incoming;
pub use registered_server::RegisteredServer;
pub use status::{ServeError, Served, ServerStatus};
