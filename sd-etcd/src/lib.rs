//! An etcd backend for `sd-core`: implements [`Client`](sd_core::Client), for etcd in production.
//!
//! Putting a key on a lease is easy. The faults that follow are not: a server that is frozen rather
//! than down, a registry that comes back empty and whose new revisions pass the old ones, a put
//! that was given up but takes effect later. This backend handles them, and its tests cause them on
//! real etcd processes.
//!
//! ```no_run
//! use sd_core::{Instancer, Prefix, Registrar, Service};
//! use sd_etcd::EtcdClient;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = EtcdClient::connect(["http://10.0.0.1:2379", "http://10.0.0.2:2379"])?;
//!
//! let service = Service::new("/services/hello/10.0.0.7:8080", "10.0.0.7:8080")?;
//! let registrar = Registrar::new(client.clone(), service);
//! registrar.register().await?;
//!
//! let instancer = Instancer::new(client.clone(), Prefix::new("/services/hello")?);
//! instancer.ready().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Load on etcd
//! - Two connections per client. The second is made by the first registration.
//! - One watch stream for all watches. While it is idle, one request per second asks etcd for
//!   progress.
//! - One lease and one keep-alive stream per TTL, for all services. Every third of the TTL one
//!   request reads the keys of the lease, to notice deleted and taken keys.
//!
//! # Rights
//! A consumer needs the right to read its prefix. A provider needs the rights to read and write its
//! keys. Without the right to read them, it does not notice that they were deleted.
//!
//! # Features
//! - `metrics`: counters and gauges through the `metrics` facade, see [`telemetry`].
//! - `tls`: TLS with a CA and a client certificate of your own.
//! - `tls-roots`: `tls`, and trust in the system's CAs.
//!
//! # Versions
//! etcd 3.4 or later. Building needs `protoc`, as `etcd-client` does.

// The rooms, and the direction of imports: `builder` -> `client` -> `registering`, `watching` ->
// `connection` -> `config` -> `errors`. `support` imports none of them. Each room's `mod.rs` says
// what is in it.
mod builder;
mod client;
mod config;
mod connection;
mod errors;
mod registering;
mod support;
pub mod telemetry;
mod watching;

pub use builder::EtcdClientBuilder;
pub use client::EtcdClient;
#[cfg(feature = "tls")]
pub use config::Tls;
pub use config::{Credentials, Resolve, User};
