//! Waiting for a condition instead of a time.

use std::{fmt::Debug, time::Duration};
use tokio::time::{Instant, sleep};

/// A deadline that only a broken promise reaches, however slow the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` again and again until `accept` likes what it sees, and gives that back.
///
/// Say in `what` what is waited for: "two watchers". Cancellation safe.
///
/// # Panics
/// With what was seen last, if that takes longer than `deadline`.
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

/// Awaits `future` and looks all the while, before and after it too, whether `accept` likes what
/// `probe` sees: what must never happen, not even for a moment between two waits.
///
/// # Panics
/// With what was seen, as soon as it is not accepted.
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
        // Only the pause is raced, so that a look is never cut off halfway.
        tokio::select! {
            output = &mut future => break output,
            () = sleep(PAUSE) => look(probe().await),
        }
    };
    look(probe().await);
    output
}
