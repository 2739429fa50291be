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
//! - With a user: one authentication for both connections, and another when etcd refuses the token.
//! - One watch stream for all watches. While it is idle, one request per second asks etcd for
//!   progress.
//! - One lease and one keep-alive stream per TTL, for all services. Every third of the TTL one
//!   request reads the keys of the lease, to notice those that somebody deleted or took.
//! - One read for each watch that is opened, and two small ones beside it if the last change was a
//!   deletion. etcd sorts the prefix for it: 1 ms for 1,000 keys, 15 to 50 ms for 20,000.
//!
//! # Backups
//! Restore etcd with `--bump-revision` and `--mark-compacted`: each watch then ends with
//! [`Gap::Compacted`](sd_core::Gap::Compacted), and its instancer lists again. Without them a watch
//! that resumes compares what it knows with what etcd had at that revision: the number of keys, the
//! newest of them, and the last deletion. If anything differs, it ends with
//! [`Gap::Rebuilt`](sd_core::Gap::Rebuilt). This is not noticed:
//! - The prefix was listed and has not changed since, none of its keys was put after the backup, and
//!   in the lost history and in the new one equally many keys, but different ones, were deleted.
//! - The last change happened again at the same revision, with the same value, lease and version, and
//!   the number of keys is the same.
//! - etcd was rolled back behind a gRPC proxy that keeps its watches open. Then only the last put is
//!   compared.
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
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod registering;
mod support;
pub mod telemetry;
mod watching;

pub use builder::EtcdClientBuilder;
pub use client::EtcdClient;
#[cfg(feature = "tls")]
pub use config::Tls;
pub use config::{Credentials, Resolve, User};
