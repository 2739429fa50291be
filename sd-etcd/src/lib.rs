//! etcd behind the [`Client`](sd_core::Client) of `sd-core`: service discovery that outlives what
//! production does to a registry.
//!
//! To put a key on a lease is the easy part. The work is in what happens later: a server that is
//! frozen rather than down, a registry that comes back empty with a revision counter that fits, a put
//! that was given up and takes effect all the same. This backend handles those, and its tests cause
//! them on real etcd processes.
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
//! - With a user: one authentication for both connections, and another when etcd refuses the token.
//! - One watch stream for all watches. While it is idle, one request per second asks etcd for
//!   progress.
//! - One lease and one keep-alive stream per TTL, for all services. Every third of the TTL one
//!   request reads the keys of the lease, to notice those that somebody deleted or took.
//!
//! # Rights
//! A consumer needs to read its prefix. A provider needs to read and write its keys. Without the
//! right to read them it does not notice that they were deleted.
//!
//! # Features
//! - `metrics`: counters and gauges through the `metrics` facade, see [`telemetry`].
//! - `tls`: TLS with a CA and a client certificate of your own.
//! - `tls-roots`: `tls`, and trust in the system's CAs.
//!
//! # Versions
//! etcd 3.4 or later. Building needs `protoc`, as `etcd-client` does.

// The rooms, and the way imports run: `builder` -> `client` -> `registering`, `watching` ->
// `connection` -> `config` -> `errors`. `support` imports none of them. Each room's `mod.rs` says
// what lives there.
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
