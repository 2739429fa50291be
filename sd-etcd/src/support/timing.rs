//! Delays, timers, and futures that may be absent.

use futures::future::BoxFuture;
use sd_core::Backoff;
use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep_until};

/// Returns the delays between attempts to delete, to revoke and to open a keep-alive stream. They
/// are short compared with the deregister timeout, so that several attempts fit into it.
pub(crate) fn retry_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(1))
}

/// Sleeps until `deadline`, or for ever without one.
pub(crate) async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Waits for `future` and removes it, or waits for ever without one. Cancellation safe.
pub(crate) async fn finish<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    let output = match future {
        Some(future) => future.await,
        None => pending().await,
    };
    *future = None;
    output
}
