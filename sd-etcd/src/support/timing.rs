//! Delays, timers, and futures that may be absent.

use futures::future::BoxFuture;
use sd_core::Backoff;
use std::{future::pending, pin::Pin, time::Duration};
use tokio::time::{Instant, Sleep, sleep_until};

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

/// A timer for a deadline that mostly moves on before it comes. The runtime hears of it only when the time that it
/// was set to last has come, or where it comes earlier.
#[derive(Default)]
pub(crate) struct MovingTimer(Option<Pin<Box<Sleep>>>);

impl MovingTimer {
    /// Sleeps until `deadline`, or for ever without one. Cancellation safe.
    pub(crate) async fn until(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return pending().await;
        };
        let new = || Box::pin(sleep_until(deadline));
        let sleep = self.0.get_or_insert_with(new);
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            sleep.as_mut().await;
            if deadline <= sleep.deadline() {
                return;
            }
            sleep.as_mut().reset(deadline);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::time::advance;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_moving_timer_ends_at_the_deadline_that_it_was_given_last() {
        let (mut timer, start) = (MovingTimer::default(), Instant::now());
        assert!(timer.until(None).now_or_never().is_none());
        for (deadline, ends) in [(3, 3), (5, 5), (10, 10), (7, 10), (11, 11)] {
            // Given up before it comes, as in a `select!`.
            let later = start + 20 * SECOND;
            assert!(timer.until(Some(later)).now_or_never().is_none());
            timer.until(Some(start + deadline * SECOND)).await;
            assert_eq!(start.elapsed(), ends * SECOND, "{deadline}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_moving_timer_is_not_set_anew_for_a_later_deadline() {
        let (mut timer, start) = (MovingTimer::default(), Instant::now());
        let set_to = |timer: &MovingTimer| timer.0.as_ref().map(|sleep| sleep.deadline() - start);
        for second in 1..=3 {
            let deadline = start + second * SECOND;
            assert!(timer.until(Some(deadline)).now_or_never().is_none());
            assert_eq!(set_to(&timer), Some(SECOND));
        }
        advance(SECOND).await;
        assert!(
            timer
                .until(Some(start + 3 * SECOND))
                .now_or_never()
                .is_none()
        );
        assert_eq!(set_to(&timer), Some(3 * SECOND));
    }
}
