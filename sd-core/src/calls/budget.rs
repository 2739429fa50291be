//! The retry budget: no retries while most calls fail.

use std::sync::atomic::{AtomicU64, Ordering};

/// Stops retries when too many calls fail, so that a backend in trouble is not called several times
/// as often as a healthy one.
///
/// Works like gRPC's retry throttling ([A6]). The budget begins with `max_tokens` tokens and never
/// has more. A failed call takes one token, a successful call adds `ratio` tokens, and calls are
/// retried only while more than half of the tokens are left. First attempts are never held back.
/// Takes no lock and reads no clock.
///
/// Share one in an `Arc` between all [`Retry`](crate::Retry)s that call the same service.
///
/// ```
/// use sd_core::RetryBudget;
///
/// let budget = RetryBudget::new(4, 0.5);
/// budget.failed();
/// assert!(budget.allows_retry()); // 3 tokens left
/// budget.failed();
/// assert!(!budget.allows_retry()); // 2 left: half of them
/// budget.succeeded();
/// assert!(budget.allows_retry()); // 2.5
/// ```
///
/// [A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md#throttling-retry-attempts-and-hedged-rpcs
#[derive(Debug)]
pub struct RetryBudget {
    /// In thousandths of a token, like the other fields.
    tokens: AtomicU64,
    max: u64,
    per_success: u64,
}

const TOKEN: u64 = 1000;

impl RetryBudget {
    /// A full budget of `max_tokens` tokens (0 counts as 1), to which each success adds `ratio`
    /// tokens (rounded to three decimals; negative counts as 0). With 10 and 0.1, five failures in
    /// a row stop retries. In the long run, more than one failure in ten successes stops them too.
    pub fn new(max_tokens: u32, ratio: f64) -> Self {
        let max = u64::from(max_tokens.max(1)) * TOKEN;
        Self {
            tokens: AtomicU64::new(max),
            max,
            // `as` saturates, and turns NaN into 0.
            per_success: ((ratio * TOKEN as f64).round() as u64).min(max),
        }
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

    /// Whether a call that failed may be retried now.
    pub fn allows_retry(&self) -> bool {
        self.tokens.load(Ordering::Relaxed) > self.max / 2
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

/// 10 tokens; each success adds a tenth of one.
impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(10, 0.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stop_at_half_of_the_tokens() {
        let budget = RetryBudget::default();
        for _ in 0..4 {
            budget.failed();
            assert!(budget.allows_retry());
        }
        budget.failed();
        assert!(!budget.allows_retry());
        budget.succeeded();
        assert!(budget.allows_retry());
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
            let budget = RetryBudget::new(0, ratio);
            assert!(budget.allows_retry());
            budget.failed();
            budget.succeeded();
            assert!(budget.tokens() <= 1.0);
        }
    }
}
