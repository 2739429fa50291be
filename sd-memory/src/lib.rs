//! A service registry inside the process that behaves like etcd, including its faults.
//!
//! A service that registers itself or follows others must work when leases expire, when the
//! registry is down, or when somebody else takes its key. A mock has no leases, and tests on a real
//! etcd have to wait for them. This registry has real leases, TTLs, revisions, compaction and
//! watches, on tokio's clock: with paused time, an hour takes no time in a test. Faults are [part
//! of the API](Registry).
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
//! // A consumer watches, and a provider registers.
//! let hello = Prefix::new("/services/hello")?;
//! let listed = consumer.get_entries(&hello).await?;
//! let mut watch = consumer.watch_prefix(&hello, &listed.revision).await?;
//! let service = Service::new("/services/hello/a", "10.0.0.1:8080")?;
//! let mut registration = provider.register(&service).await?;
//! let batch = watch.next().await.ok_or("ended")??;
//! assert!(matches!(&batch.changes[..], [Change::Put(entry)] if entry.value == "10.0.0.1:8080"));
//!
//! // The registry stops answering for longer than the TTL. The registration is lost only when the
//! // registry says so.
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
//! Everything needs a tokio runtime with time enabled. A client keeps a lease alive on
//! the runtime on which it was granted. A registry belongs to no runtime.
//!
//! # Differences from etcd
//! - A call that times out or is dropped has no effect. etcd may still apply it later.
//! - The history is compacted after 100,000 revisions; see [`Registry::with_history`].
//! - A resume token identifies its history, so a watch always notices that the registry was
//!   rebuilt.
//! - Keys are UTF-8.

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
