//! Tests whether an implementation of [`Client`](sd_core::Client), and of [`Editor`](sd_core::Editor) beside it, keeps
//! the contract.
//!
//! The layers above a client rely on promises that its signatures cannot express: no change is lost
//! between a list and a watch, a lost history is reported as a gap, a deregistration never removes
//! a successor. A backend that breaks such a promise may work in tests and fail in production. So
//! each promise has a [`Check`] here, named for it.
//!
//! The author of a backend implements [`Harness`]: how to make a client, and how to read and
//! disturb the registry from outside (write an entry, expire a lease, compact). Only
//! [`Harness::client`] is required. A check that needs a method which the harness does not
//! implement is reported as not run, with the reason. So is a check during which the backend
//! returns [`Error::Unsupported`](sd_core::Error::Unsupported). A client that is also an `Editor` is named with
//! [`TestClient::editing_as`].
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
//! Checks run concurrently, each below its own path, so other programs may use the registry at the
//! same time. Checks that affect the whole registry (a compaction, an outage, a rebuild) run one by
//! one after the others, and need a registry that nobody else uses. [`run_one`] runs a single
//! check.
//!
//! The suite uses tokio's clock. With a registry in the same process and paused time, it takes
//! almost no time.

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
