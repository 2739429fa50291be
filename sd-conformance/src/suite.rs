//! Runs checks and collects their verdicts.

use crate::{
    check::Check,
    checks::ALL,
    context::Context,
    error::CheckError,
    harness::Harness,
    report::{Report, Verdict},
};
use futures::{FutureExt, StreamExt, stream};
use std::{any::Any, panic::AssertUnwindSafe};
use tokio::time::timeout;

/// All checks, in the order in which they are reported.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    ALL.into_iter().flatten()
}

/// Runs every check against the clients of `harness`.
///
/// Does not fail and does not panic. A client that panics, hangs or returns an error fails the
/// check in which it does so.
///
/// # Cancellation
/// If the future is dropped, a disruption of the registry may stay, and so may keys that checks
/// wrote.
pub async fn run(harness: &dyn Harness) -> Report {
    let (exclusive, shared): (Vec<_>, Vec<_>) = checks().partition(|check| check.exclusive);
    let shared: Vec<_> = shared
        .into_iter()
        .map(|check| verdict(harness, check).boxed())
        .collect();
    let mut verdicts: Vec<_> = stream::iter(shared)
        .buffer_unordered(harness.concurrency().max(1))
        .collect()
        .await;
    for check in exclusive {
        verdicts.push(verdict(harness, check).await);
    }
    let position = |check: &Check| checks().position(|other| other.name == check.name);
    verdicts.sort_by_key(|(check, _)| position(check));
    Report::new(verdicts)
}

/// Runs the check called `name` alone; `None` if there is none.
pub async fn run_one(harness: &dyn Harness, name: &str) -> Option<Report> {
    let check = checks().find(|check| check.name == name)?;
    Some(Report::new(vec![verdict(harness, check).await]))
}

async fn verdict(harness: &dyn Harness, check: &'static Check) -> (&'static Check, Verdict) {
    let ctx = Context::new(harness, check.name);
    let limit = harness.timeout() * 10 + harness.min_ttl().duration() * 4;
    let run = AssertUnwindSafe((check.body)(&ctx)).catch_unwind();
    let verdict = match timeout(limit, run).await {
        Ok(Ok(Ok(()))) => Verdict::Passed,
        Ok(Ok(Err(CheckError::Failed(message)))) => Verdict::Failed(message),
        Ok(Ok(Err(CheckError::NotRun(reason)))) => Verdict::NotRun(reason),
        Ok(Err(panic)) => Verdict::Failed(format!("panicked: {}", panic_message(&*panic))),
        Err(_) => Verdict::Failed(format!("still not done after {limit:?}")),
    };
    ctx.clean_up().await;
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
    use crate::harness::{HarnessError, HarnessResult, TestClient};
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
        async fn client(&self) -> HarnessResult<TestClient> {
            Err(HarnessError::Unsupported)
        }
    }

    struct Panicking;

    #[sd_core::async_trait]
    impl Harness for Panicking {
        async fn client(&self) -> HarnessResult<TestClient> {
            panic!("no client today")
        }
    }

    struct Hanging;

    #[sd_core::async_trait]
    impl Harness for Hanging {
        async fn client(&self) -> HarnessResult<TestClient> {
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
