//! Tests whether an implementation of [`Client`](sd_core::Client) keeps the contract.
//!
//! The layers above a client rely on more than signatures can say: no change falls between a list
//! and a watch, a lost history is reported as a gap, a deregistration never removes a successor. A
//! backend that breaks such a promise fails in production and nowhere else. So each promise is a
//! [`Check`] here, named for what it states.
//!
//! The author of a backend implements [`Harness`]: how to make a client, and how the suite may read
//! and disturb the registry from outside (write an entry, expire a lease, compact). Only
//! [`Harness::client`] is required. A check that needs more than the harness has is reported as not
//! run, with the reason; so is a check that the backend answers with
//! [`Error::Unsupported`](sd_core::Error::Unsupported).
//!
//! ```
//! use sd_conformance::{Harness, HarnessResult, TestClient};
//! use sd_core::{Bytes, Key, async_trait};
//! use sd_memory::Registry; // your backend
//! use std::sync::Arc;
//!
//! struct MyHarness(Registry);
//!
//! #[async_trait]
//! impl Harness for MyHarness {
//!     async fn client(&self) -> HarnessResult<TestClient> {
//!         let client = Arc::new(self.0.client());
//!         Ok(TestClient::new(client.clone()).closed_by(async move { client.close().await }))
//!     }
//!
//!     async fn put(&self, key: &Key, value: Bytes) -> HarnessResult {
//!         self.0.put(key, value)?;
//!         Ok(())
//!     }
//!
//!     async fn delete(&self, key: &Key) -> HarnessResult {
//!         self.0.delete(key);
//!         Ok(())
//!     }
//! }
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() { my_client_keeps_the_contract().await }
//! async fn my_client_keeps_the_contract() {
//!     let report = sd_conformance::run(&MyHarness(Registry::new())).await;
//!     println!("{report}");
//!     report.assert_passed();
//!     assert!(report.not_run().contains(&"a_lost_lease_is_lost_for_all_its_services"));
//! }
//! ```
//!
//! Checks run side by side, each below a path of its own, so the registry may be shared with others.
//! Those that affect the whole registry (a compaction, an outage, a rebuild) run one by one after
//! the rest, and need a registry that nobody else uses. [`run_one`] runs a single check, for a test
//! of each or while you work on one.
//!
//! The suite uses tokio's clock. With a registry in the same process and paused time it takes no
//! time to speak of.

mod check;
mod checks;
mod clients;
mod context;
mod deadline;
mod error;
mod follower;
mod harness;
mod registry;
mod report;
mod suite;

pub use check::Check;
pub use harness::{Harness, HarnessError, HarnessResult, NewRevision, TestClient};
pub use report::{Report, Verdict};
pub use suite::{checks, run, run_one};
