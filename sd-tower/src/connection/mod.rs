//! Connections to one endpoint: dialed with one limit, opened again by a task, and with a state that
//! anybody can follow.
//!
//! [`Connection`] is one HTTP/2 connection, for gRPC. [`Connector`] opens the connections of a client of
//! hyper-util, which has a pool. Both dial with the same `Dialer` and say what they know as
//! [`Connectivity`](sd_core::Connectivity).
//!
//! This room imports no other. Inside, imports run from `http2` and `connector` to `dialer` to
//! `encryption` to `options`, `address`, `stream` and `tls` to `connect_error`.

mod address;
mod connect_error;
#[cfg(feature = "hyper")]
mod connector;
mod dialer;
#[cfg(feature = "tls")]
mod encryption;
#[cfg(not(feature = "tls"))]
#[path = "no_encryption.rs"]
mod encryption;
#[cfg(feature = "tonic")]
mod http2;
#[cfg(feature = "hyper")]
mod http_versions;
mod options;
mod outage;
mod stream;
#[cfg(feature = "tls")]
mod tls;

pub use connect_error::{ConnectError, ConnectErrorKind};
#[cfg(feature = "hyper")]
pub use connector::Connector;
#[cfg(feature = "hyper")]
pub use http_versions::HttpVersions;
#[cfg(feature = "tonic")]
pub use http2::{Connection, Http2Options};
pub use options::ConnectOptions;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsBuilder, TlsError};
