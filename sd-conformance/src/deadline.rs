//! Deadlines: until when a condition must hold.

use crate::error::{CheckResult, ensure};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The time after which a check stops waiting.
pub(crate) struct Deadline {
    start: Instant,
    limit: Duration,
}

impl Deadline {
    /// `limit` from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self {
            start: Instant::now(),
            limit,
        }
    }

    /// Pauses before the next attempt. Fails the check with `what` if the deadline has passed.
    pub(crate) async fn retry(&self, what: String) -> CheckResult {
        let limit = self.limit;
        ensure!(self.start.elapsed() < limit, "{what}, even after {limit:?}");
        sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.start.elapsed())
    }
}
