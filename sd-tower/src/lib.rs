//! Calls through discovered endpoints: gRPC with tonic, HTTP with hyper or reqwest, tower's
//! `Discover`, and servers that register themselves.

#[cfg(any(feature = "hyper", feature = "tonic"))]
mod connection;

#[cfg(feature = "hyper")]
pub use connection::Connector;
#[cfg(any(feature = "hyper", feature = "tonic"))]
pub use connection::{ConnectError, ConnectErrorKind, ConnectOptions};
#[cfg(feature = "tonic")]
pub use connection::{Connection, Http2Options};
#[cfg(all(feature = "tls", any(feature = "hyper", feature = "tonic")))]
pub use connection::{Tls, TlsBuilder, TlsError};
