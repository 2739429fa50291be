//! etcd behind the [`Client`](sd_core::Client) of `sd-core`: service discovery that outlives what
//! production does to a registry.
//!
//! Any etcd client can put a key on a lease. What takes the work is everything after: the server that
//! is frozen rather than down, the one that comes back empty with a revision counter that fits, the
//! put that was given up and takes effect all the same. This backend is built for those, and its
//! tests do them to real etcd processes.
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
//! # What it costs etcd
//! Two connections per client, one of them only if it registers something; one watch stream for all
//! watches, one lease and one keep-alive stream per TTL for all services. Every third of a TTL one
//! request asks for the keys of the lease, to notice those that somebody deleted or took. While
//! watches hear nothing, etcd is asked for a sign of life once in a second.
//!
//! # Rights
//! A consumer needs to read its prefix. A provider needs to read and write its keys; without the
//! right to read them, it cannot notice that they were deleted.
//!
//! # Features
//! - `metrics`: counters and gauges through the `metrics` facade, see [`telemetry`].
//! - `tls`: TLS with a CA and a client certificate of your own; `tls-roots` trusts the system's CAs too.
//!
//! # Versions
//! etcd 3.4 or later. Building needs `protoc`, as `etcd-client` does.

mod advice;
mod builder;
mod client;
mod config;
mod departures;
mod door;
mod error;
mod feed;
mod hub;
mod ledger;
mod link;
mod list;
#[cfg(test)]
mod properties;
mod pulse;
mod revision;
mod session;
pub mod telemetry;
mod tenancy;
#[cfg(feature = "tls")]
mod tls;
mod txn;
mod work;

pub use builder::EtcdClientBuilder;
pub use client::EtcdClient;
#[cfg(feature = "tls")]
pub use tls::Tls;
