//! The contract of [`Client`](sd_core::Client) as checks that run against any implementation.
//!
//! The layers above rely on more than signatures can say: that no change falls between a list and
//! a watch, that a lost history is said to be lost, that a deregistration never removes a
//! successor. A backend that breaks such a promise fails in production and nowhere else, so each
//! promise is a [`Check`] here, named for what it states.
//!
//! The author of a backend implements [`Harness`]: how to make a client, and by which means the
//! suite may disturb the registry from outside (a foreign put, a lease that expires, a compaction).
//! All means are optional; a check whose means are absent is reported as not run, and says why, as
//! is one that the backend answers with [`Error::Unsupported`](sd_core::Error::Unsupported).
//!
//! ```no_run
//! # use sd_core::*;
//! # #[derive(Clone)] struct Registry;
//! # impl Registry {
//! #     fn new() -> Self { Self }
//! #     fn client(&self) -> Box<MyClient> { unimplemented!() }
//! #     async fn put(&self, _: &str, _: Bytes) -> std::io::Result<()> { Ok(()) }
//! #     async fn delete(&self, _: &str) -> std::io::Result<()> { Ok(()) }
//! # }
//! # struct MyClient;
//! # impl MyClient { async fn close(&self) {} }
//! # #[async_trait]
//! # impl Client for MyClient {
//! #     async fn get_entries(&self, _: &Prefix) -> Result<Snapshot> { unimplemented!() }
//! #     async fn watch_prefix(&self, _: &Prefix, _: &Revision) -> Result<Watch, WatchError> { unimplemented!() }
//! #     async fn register(&self, _: &Service) -> Result<Registration> { unimplemented!() }
//! #     async fn deregister(&self, _: &Service) -> Result<Deregistered> { unimplemented!() }
//! #     fn lease_id(&self) -> Option<LeaseId> { None }
//! # }
//! use sd_conformance::{Harness, Means, Subject};
//! use std::sync::Arc;
//!
//! struct MyHarness(Registry);
//!
//! #[async_trait]
//! impl Harness for MyHarness {
//!     async fn client(&self) -> Means<Subject> {
//!         let client: Arc<MyClient> = Arc::from(self.0.client());
//!         Ok(Subject::new(client.clone()).closed_by(async move { client.close().await }))
//!     }
//!
//!     async fn put(&self, key: &Key, value: Bytes) -> Means {
//!         Ok(self.0.put(key.as_str(), value).await?)
//!     }
//!
//!     async fn delete(&self, key: &Key) -> Means {
//!         Ok(self.0.delete(key.as_str()).await?)
//!     }
//! }
//!
//! // In a `#[tokio::test]`:
//! # async fn test() {
//! let report = sd_conformance::run(&MyHarness(Registry::new())).await;
//! println!("{report}");
//! report.assert_passed();
//! # }
//! ```
//!
//! Checks run side by side, each under a prefix of its own, so the registry may be shared with
//! others; those that affect the whole registry (a compaction, an outage, a rebuild) run alone
//! after the rest, and want a registry that nobody else needs. The suite uses tokio's clock: with a
//! registry in the same process and paused time it takes no time at all.

mod bench;
mod deregistration;
mod follower;
mod harness;
mod lease;
mod list;
mod means;
mod outage;
mod reclaim;
mod registration;
mod report;
mod resume;
mod stop;
mod waiting;
mod watch;

pub use harness::{Counter, Harness, Means, Subject, Unmet};
pub use report::{Report, Verdict};

use bench::Bench;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use std::{any::Any, fmt, panic::AssertUnwindSafe};
use stop::{Outcome, Stop};
use tokio::time::timeout;

/// One promise of [`Client`](sd_core::Client), and how it is tested.
#[derive(Clone, Copy)]
pub struct Check {
    name: &'static str,
    promise: &'static str,
    exclusive: bool,
    body: for<'b> fn(&'b Bench<'b>) -> BoxFuture<'b, Outcome>,
}

impl Check {
    /// Its name, which states the promise and stays the same:
    /// `a_change_between_list_and_watch_is_not_lost`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The promise in a sentence.
    pub fn promise(&self) -> &'static str {
        self.promise
    }

    /// Whether it affects the whole registry, so that no other check may run beside it.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .field("exclusive", &self.exclusive)
            .finish_non_exhaustive()
    }
}

/// A [`Check`] made of the function that is named for its promise.
macro_rules! check {
    ($name:ident, $promise:literal) => {
        $crate::check!($name, $promise, exclusive: false)
    };
    (alone $name:ident, $promise:literal) => {
        $crate::check!($name, $promise, exclusive: true)
    };
    ($name:ident, $promise:literal, exclusive: $exclusive:literal) => {
        $crate::Check {
            name: stringify!($name),
            promise: $promise,
            exclusive: $exclusive,
            body: |bench| Box::pin($name(bench)),
        }
    };
}
use check;

/// All checks, in the order in which they are reported.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        list::CHECKS,
        resume::CHECKS,
        watch::CHECKS,
        outage::CHECKS,
        registration::CHECKS,
        deregistration::CHECKS,
        reclaim::CHECKS,
        lease::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// Runs every check against the clients of `harness`.
///
/// Never fails itself: a client that panics, hangs or answers with an error fails the check that it
/// was in. When the future is dropped, a registry that the suite disturbed stays disturbed.
pub async fn run(harness: &dyn Harness) -> Report {
    let (alone, together): (Vec<_>, Vec<_>) = checks().partition(|check| check.exclusive);
    let together: Vec<_> = together
        .into_iter()
        .map(|check| verdict(harness, check).boxed())
        .collect();
    let mut verdicts: Vec<_> = stream::iter(together)
        .buffer_unordered(harness.parallel().max(1))
        .collect()
        .await;
    for check in alone {
        verdicts.push(verdict(harness, check).await);
    }
    Report::new(verdicts)
}

/// Runs the check called `name` alone; `None` if there is none.
pub async fn run_one(harness: &dyn Harness, name: &str) -> Option<Report> {
    let check = checks().find(|check| check.name == name)?;
    Some(Report::new(vec![verdict(harness, check).await]))
}

async fn verdict(harness: &dyn Harness, check: &'static Check) -> (&'static Check, Verdict) {
    let bench = Bench::new(harness, check.name);
    let limit = harness.patience() * 10 + harness.ttl().duration() * 4;
    let run = AssertUnwindSafe((check.body)(&bench)).catch_unwind();
    let verdict = match timeout(limit, run).await {
        Ok(Ok(Ok(()))) => Verdict::Passed,
        Ok(Ok(Err(Stop::Broken(message)))) => Verdict::Failed(message),
        Ok(Ok(Err(Stop::NotRun(reason)))) => Verdict::NotRun(reason),
        Ok(Err(panic)) => Verdict::Failed(format!("panicked: {}", panic_message(&*panic))),
        Err(_) => Verdict::Failed(format!("still not done after {limit:?}")),
    };
    bench.tidy().await;
    (check, verdict)
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_checks_have_the_same_name() {
        let mut names = HashSet::new();
        for check in checks() {
            assert!(names.insert(check.name()), "{} twice", check.name());
            assert!(check.promise().ends_with('.'), "{}", check.name());
        }
    }

    struct Nothing;

    #[sd_core::async_trait]
    impl Harness for Nothing {
        async fn client(&self) -> Means<Subject> {
            Err(Unmet::Absent)
        }
    }

    struct Panicking;

    #[sd_core::async_trait]
    impl Harness for Panicking {
        async fn client(&self) -> Means<Subject> {
            panic!("no client today")
        }
    }

    struct Hanging;

    #[sd_core::async_trait]
    impl Harness for Hanging {
        async fn client(&self) -> Means<Subject> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_without_its_means_is_not_run() {
        let report = run(&Nothing).await;
        assert_eq!(report.not_run().len(), checks().count());
        report.assert_passed();
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_fails_the_check_it_was_in() {
        let report = run_one(&Panicking, "a_registered_service_is_seen_by_others")
            .await
            .unwrap();
        assert_eq!(report.failed(), ["a_registered_service_is_seen_by_others"]);
        assert!(report.to_string().contains("no client today"), "{report}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hang_fails_the_check_it_was_in() {
        let report = run_one(&Hanging, "a_registered_service_is_seen_by_others")
            .await
            .unwrap();
        assert_eq!(report.failed(), ["a_registered_service_is_seen_by_others"]);
    }

    #[tokio::test]
    async fn an_unknown_check_is_none() {
        assert!(run_one(&Nothing, "unheard_of").await.is_none());
    }
}
