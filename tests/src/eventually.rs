//! Waiting for a condition instead of a time.

use std::{fmt::Debug, time::Duration};
use tokio::time::{Instant, sleep};

/// A deadline that is reached only if a promise is broken, however slow the machine is.
pub const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// Calls `probe` repeatedly until `accept` returns `true` for its output, and returns that output.
///
/// `what` is for the message: "two watchers". Cancellation safe.
///
/// # Panics
/// With the last output, if it takes longer than `deadline`.
///
/// ```
/// # use sd_tests::{PATIENCE, eventually};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut tries = 0;
/// let probe = || {
///     tries += 1;
///     std::future::ready(tries)
/// };
/// assert_eq!(eventually(PATIENCE, "a third try", probe, |tries| *tries >= 3).await, 3);
/// # }
/// ```
pub async fn eventually<T: Debug, P: Future<Output = T>>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> P,
    accept: impl Fn(&T) -> bool,
) -> T {
    let start = Instant::now();
    loop {
        let seen = probe().await;
        if accept(&seen) {
            return seen;
        }
        assert!(
            start.elapsed() < deadline,
            "waited {deadline:?} in vain for {what}; last seen: {seen:?}"
        );
        sleep(PAUSE).await;
    }
}

/// Awaits `future`, and checks before, during and after it that `accept` returns `true` for every
/// output of `probe`. For conditions that must hold at all times.
///
/// # Panics
/// With the first output that is not accepted.
///
/// ```
/// # use sd_tests::throughout;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let consumer = ["10.0.0.1:80"];
/// let fault = tokio::task::yield_now();
/// throughout(fault, "an instance to call", async || consumer.len(), |n| *n > 0).await;
/// # }
/// ```
pub async fn throughout<O, T: Debug, P: Future<Output = T>>(
    future: impl Future<Output = O>,
    what: &str,
    mut probe: impl FnMut() -> P,
    accept: impl Fn(&T) -> bool,
) -> O {
    let look = |seen: T| {
        assert!(
            accept(&seen),
            "not always {what}; seen in between: {seen:?}"
        );
    };
    look(probe().await);
    let mut future = std::pin::pin!(future);
    let output = loop {
        // Only the pause is raced, so that a check is never cut off halfway.
        tokio::select! {
            output = &mut future => break output,
            () = sleep(PAUSE) => look(probe().await),
        }
    };
    look(probe().await);
    output
}
