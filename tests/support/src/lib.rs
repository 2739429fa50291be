//! Helpers for the tests of several crates of the workspace.
//!
//! Depends on none of those crates, so that each can use it in its unit tests. Helpers that need a
//! backend or an etcd are in `sd-tests`.
//!
//! ```
//! use sd_test_support::{Log, cases};
//!
//! let log = Log::capture();
//! tracing::warn!(target: "sd_core", error = "down", "cannot list");
//! assert_eq!(log.text(), [r#"WARN cannot list error="down""#]);
//!
//! let settings = cases(4); // of a property test: four times as many cases as usual
//! # assert!(settings.cases >= 4);
//! ```

mod log;
mod properties;

pub use log::{Line, Log};
pub use properties::cases;
