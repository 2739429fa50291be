//! What a client is told: endpoints, credentials, timeouts and limits, namespace.
//!
//! [`Options`] holds what [`EtcdClientBuilder`](crate::EtcdClientBuilder) was given, after all
//! checks. Every other room reads it, and none changes it. [`Tls`], [`Credentials`] and [`Resolve`]
//! are public.
//!
//! This room imports `errors`, and none of the others.

mod credentials;
mod endpoint;
mod namespace;
mod options;
mod resolve;
mod secret;
#[cfg(feature = "tls")]
mod tls;

pub use credentials::{Credentials, User};
pub(crate) use endpoint::{Endpoint, without_credentials};
pub(crate) use namespace::Namespace;
pub(crate) use options::Options;
pub use resolve::Resolve;
#[cfg(feature = "tls")]
pub use tls::Tls;
