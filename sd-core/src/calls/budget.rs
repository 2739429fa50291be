//! The retry budget: no retries while most calls fail.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// Stops retries when too many calls fail, so that a backend in trouble is not called several times
/// as often as a healthy one.
///
/// Works like gRPC's retry throttling ([A6]), with a floor as in Finagle's [`RetryBudget`].
/// - The budget begins with `max_tokens` tokens and never has more. A failed call takes one token,
///   a successful call adds `ratio` tokens. While more than half of the tokens are left, calls are
///   retried.
/// - Otherwise only as many retries a second are allowed as the floor says. A client that makes few
///   calls earns few tokens, and its retries harm nobody.
///
/// First attempts are never held back. Takes no lock. Reads the clock only when a call has failed
/// and few tokens are left.
///
/// Share one in an `Arc` between all [`Retry`](crate::Retry)s that call the same service.
///
/// ```
/// use sd_core::RetryBudget;
///
/// let budget = RetryBudget::new(4, 0.5).with_min_retries_per_sec(0);
/// budget.failed();
/// assert!(budget.try_retry()); // 3 tokens left
/// budget.failed();
/// assert!(!budget.try_retry()); // 2 left: half of them
/// budget.succeeded();
/// assert!(budget.try_retry()); // 2.5
/// ```
///
/// [A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#throttling-retry-attempts-and-hedged-rpcs
/// [`RetryBudget`]: https://twitter.github.io/finagle/guide/Clients.html#retries
#[derive(Debug)]
pub struct RetryBudget {
    /// In thousandths of a token, like the other fields.
    tokens: AtomicU64,
    max: u64,
    per_success: u64,
    floor: Floor,
}

const TOKEN: u64 = 1000;

impl RetryBudget {
    /// A full budget of `max_tokens` tokens (0 counts as 1), to which each success adds `ratio`
    /// tokens (rounded to three decimals; negative counts as 0). With 10 and 0.1, five failures in
    /// a row stop retries but those of the floor. In the long run, more than one failure in ten
    /// successes stops them too. The floor is 10 retries a second.
    pub fn new(max_tokens: u32, ratio: f64) -> Self {
        let max = u64::from(max_tokens.max(1)) * TOKEN;
        Self {
            tokens: AtomicU64::new(max),
            max,
            // `as` saturates, and turns NaN into 0.
            per_success: ((ratio * TOKEN as f64).round() as u64).min(max),
            floor: Floor::new(10),
        }
    }

    /// The same budget with another floor: so many retries a second are allowed however few tokens
    /// are left. 0 means none. Default: 10, as in Finagle and Linkerd.
    #[must_use]
    pub fn with_min_retries_per_sec(mut self, retries: u32) -> Self {
        self.floor = Floor::new(retries);
        self
    }

    /// A call succeeded.
    pub fn succeeded(&self) {
        // A full budget is not written to, so threads do not contend for it in the usual case.
        self.change(|tokens| {
            (tokens < self.max).then(|| (tokens + self.per_success).min(self.max))
        });
    }

    /// A call failed with an error that is retried.
    pub fn failed(&self) {
        self.change(|tokens| (tokens > 0).then(|| tokens.saturating_sub(TOKEN)));
    }

    /// Whether a call that failed may be retried now. Ask once for each retry, since a retry that
    /// only the floor allows is taken from it.
    pub fn try_retry(&self) -> bool {
        self.tokens.load(Ordering::Relaxed) > self.max / 2 || self.floor.try_take()
    }

    /// How many tokens are left.
    pub fn tokens(&self) -> f64 {
        self.tokens.load(Ordering::Relaxed) as f64 / TOKEN as f64
    }

    fn change(&self, change: impl FnMut(u64) -> Option<u64>) {
        // An error means that there was nothing to change.
        let _ = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }
}

/// 100 tokens; each success adds a fifth of one, as in Finagle, Linkerd and Envoy. A crash fails
/// all calls under way to one instance at the same moment: fifty of them are retried.
impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(100, 0.2)
    }
}

/// Allows so many retries a second: a token bucket of one second's retries, kept as one number. See
/// the generic cell rate algorithm of ITU-T I.371.
#[derive(Debug)]
struct Floor {
    created: Instant,
    /// In nanoseconds; `None` if no retry is allowed.
    per_retry: Option<u64>,
    /// When the bucket will be full again, in nanoseconds after `created`.
    full_at: AtomicU64,
}

impl Floor {
    const SECOND: u64 = 1_000_000_000;

    fn new(retries_per_sec: u32) -> Self {
        let per_retry = Self::SECOND.checked_div(u64::from(retries_per_sec));
        Self {
            created: Instant::now(),
            per_retry: per_retry.map(|nanos| nanos.max(1)),
            full_at: AtomicU64::new(0),
        }
    }

    fn try_take(&self) -> bool {
        let Some(per_retry) = self.per_retry else {
            return false;
        };
        let now = nanos(self.created.elapsed());
        let take = |full_at: u64| {
            let full_at = full_at.max(now).saturating_add(per_retry);
            (full_at - now <= Self::SECOND).then_some(full_at)
        };
        self.full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

/// Enough for five centuries.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn without_floor(max_tokens: u32, ratio: f64) -> RetryBudget {
        RetryBudget::new(max_tokens, ratio).with_min_retries_per_sec(0)
    }

    #[test]
    fn retries_stop_at_half_of_the_tokens() {
        let budget = without_floor(10, 0.1);
        for _ in 0..4 {
            budget.failed();
            assert!(budget.try_retry());
        }
        budget.failed();
        assert!(!budget.try_retry());
        budget.succeeded();
        assert!(budget.try_retry());
    }

    #[test]
    fn tokens_stay_within_bounds() {
        let budget = RetryBudget::new(2, 0.7);
        budget.succeeded();
        assert_eq!(budget.tokens(), 2.0);
        for _ in 0..5 {
            budget.failed();
        }
        assert_eq!(budget.tokens(), 0.0);
        budget.succeeded();
        assert_eq!(budget.tokens(), 0.7);
    }

    #[test]
    fn odd_options_are_bounded() {
        for ratio in [f64::NAN, f64::INFINITY, -1.0] {
            let budget = RetryBudget::new(0, ratio).with_min_retries_per_sec(u32::MAX);
            assert!(budget.try_retry());
            budget.failed();
            assert!(budget.try_retry());
            budget.succeeded();
            assert!(budget.tokens() <= 1.0);
        }
    }

    fn retries(budget: &RetryBudget) -> usize {
        (0..1000).take_while(|_| budget.try_retry()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn without_tokens_the_floor_allows_so_many_retries_a_second() {
        let budget = RetryBudget::new(1, 0.0).with_min_retries_per_sec(7);
        budget.failed();
        assert_eq!(retries(&budget), 7);
        advance(Duration::from_millis(500)).await;
        assert_eq!(retries(&budget), 3);
        // What is not used is not saved up.
        advance(Duration::from_secs(3600)).await;
        assert_eq!(retries(&budget), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_that_the_tokens_allow_are_not_taken_from_the_floor() {
        let budget = RetryBudget::new(2, 0.0).with_min_retries_per_sec(1);
        for _ in 0..100 {
            assert!(budget.try_retry());
        }
        budget.failed();
        assert_eq!(retries(&budget), 1);
    }
}
