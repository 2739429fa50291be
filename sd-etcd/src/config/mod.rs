//! What a client is told: endpoints, credentials, timeouts and limits, namespace.
//!
//! [`Options`] holds what [`EtcdClientBuilder`](crate::EtcdClientBuilder) was given, after all
//! checks. Every other room reads it, and none changes it. [`Tls`] is public.
//!
//! This room imports `errors`, and none of the others.

mod endpoint;
mod namespace;
mod options;
#[cfg(feature = "tls")]
mod tls;

pub(crate) use namespace::Namespace;
pub(crate) use options::Options;
#[cfg(feature = "tls")]
pub use tls::Tls;
