//! A service registry inside the process that behaves as etcd does, faults included.
//!
//! A service that registers itself or follows others has to be right when leases run out, when the
//! registry is away, or when somebody else takes its key. A mock has no leases, and tests on a real
//! etcd take as long as its leases do. This registry has real leases, TTLs, revisions, compaction
//! and watches, on tokio's clock: with paused time, an hour takes no time in a test. Faults are
//! [part of the API](Registry).
//!
//! ```
//! use futures::StreamExt;
//! use sd_core::{Change, Client, Lost, Prefix, Reclaimed, Service};
//! use sd_memory::Registry;
//!
//! # // As `#[tokio::test(start_paused = true)]` does.
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::time::pause();
//! let registry = Registry::new();
//! let (provider, consumer) = (registry.client(), registry.client());
//!
//! // A consumer follows what a provider registers.
//! let hello = Prefix::new("/services/hello")?;
//! let listed = consumer.get_entries(&hello).await?;
//! let mut watch = consumer.watch_prefix(&hello, &listed.revision).await?;
//! let service = Service::new("/services/hello/a", "10.0.0.1:8080")?;
//! let mut registration = provider.register(&service).await?;
//! let batch = watch.next().await.ok_or("ended")??;
//! assert!(matches!(&batch.changes[..], [Change::Put(entry)] if entry.value == "10.0.0.1:8080"));
//!
//! // The registry stops answering for longer than the lease lives: a loss, but only once it says so.
//! registry.freeze();
//! tokio::time::sleep(2 * service.ttl.duration()).await;
//! assert_eq!(registration.loss(), None);
//! registry.thaw();
//! assert_eq!(registration.lost().await, Lost::LeaseExpired);
//!
//! // Back under a new lease, unless somebody else has taken the key.
//! let reclaimed = registration.reclaim("10.0.0.1:8080").await?;
//! assert!(matches!(reclaimed, Reclaimed::Held(_)));
//! # Ok(())
//! # }
//! ```
//!
//! Everything needs a tokio runtime with its clock. A client belongs to the runtime that it first
//! registered on; a registry to none.
//!
//! # Where it differs from etcd
//! - A call that times out or is dropped had no effect, where etcd may still apply it later.
//! - Of what was not compacted, the last 100,000 revisions are kept
//!   ([another number](Registry::with_history) can be had).
//! - A resume token names the history it is of, so that no rebuilt registry passes for the old one.
//! - Keys are text.

mod backup;
mod calls;
mod client;
mod failures;
mod faults;
mod history;
mod holdings;
mod notify;
mod options;
mod reclaim;
mod registry;
mod session;
mod shared;
mod store;
mod watch;
mod watch_delay;

pub use backup::Backup;
pub use calls::Calls;
pub use client::MemoryClient;
pub use options::ClientOptions;
pub use registry::Registry;
pub use store::{Lease, Stored};
