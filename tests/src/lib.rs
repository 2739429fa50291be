//! Means for tests against real etcd processes.
//!
//! What the toolkit promises is believed only when etcd says so too. [`Etcd`] is a process of its
//! own per test, with every fault one call away and with what etcd holds and has been asked for;
//! [`Cluster`] is several of them; [`Proxy`] is a network that misbehaves, [`GrpcProxy`] is etcd's
//! own proxy; [`eventually`] and [`throughout`] wait for a condition, never for a time. A test of a
//! new fault takes about twenty lines:
//!
//! ```no_run
//! # use sd_tests::{Etcd, PATIENCE, eventually};
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let etcd = Etcd::start().await;
//! let before = etcd.metrics().await;
//! etcd.put("/services/hello/a", "10.0.0.1:80").await;
//!
//! etcd.freeze();
//! // ... what a client does meanwhile ...
//! etcd.thaw();
//!
//! let keys = || etcd.keys("/services/hello/");
//! eventually(PATIENCE, "the entry to be there", keys, |keys| keys.len() == 1).await;
//! assert_eq!(etcd.metrics().await.since(&before).range_requests(), 0, "nothing was listed");
//! # }
//! ```
//!
//! [`soak`] runs for minutes or days what a test of one fault runs once.
//!
//! Everything here panics when it cannot do its job: it is for tests. Processes need real time;
//! what is in memory ([`Provider::in_memory`], [`Consumer::in_memory`]) is for a paused clock.

pub mod cli;
mod conformance;
mod etcd;
mod eventually;
mod fleet;
mod network;
mod process;
pub mod simulation;
pub mod soak;

pub use conformance::{EtcdHarness, MemoryHarness, wrong_clients};
pub use etcd::{Backup, Ca, Certificate, Cluster, Etcd, GrpcProxy, Metrics, Setup};
pub use eventually::{PATIENCE, eventually, throughout};
pub use fleet::{Consumer, Provider, RemoteProvider, View};
pub use network::{Proxy, Traffic};
pub use sd_test_support::{Line, Log};

/// An entry as etcd holds it: value, lease and revisions.
pub use etcd_client::KeyValue;

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
