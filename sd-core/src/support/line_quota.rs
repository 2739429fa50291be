//! How many lines one thing may cause within a minute, whatever their reasons.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// Lets so many lines through within any minute. Clones share them.
///
/// A [`LogThrottle`](super::LogThrottle) bounds the lines of one kind. Where there are several kinds, and
/// somebody can cause them all, this bounds their sum.
#[derive(Debug, Clone)]
pub(crate) struct LineQuota {
    most: usize,
    /// The times of the last lines.
    lines: Arc<Mutex<VecDeque<Instant>>>,
}

impl LineQuota {
    /// Lets `most` lines through within a minute.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            lines: Arc::default(),
        }
    }

    /// Whether a line may be logged now. If so, it counts as logged.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        self.allows_if(now, || true)
    }

    /// The same for a line that `is_due` may not want. It is asked only if the line may be logged.
    pub(crate) fn allows_if(&self, now: Instant, is_due: impl FnOnce() -> bool) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |line: &Instant| now.saturating_duration_since(*line) >= MINUTE;
        while lines.front().is_some_and(is_over) {
            lines.pop_front();
        }
        let is_allowed = lines.len() < self.most && is_due();
        if is_allowed {
            lines.push_back(now);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_lines_whoever_logs_them() {
        let (quota, start) = (LineQuota::new(3), Instant::now());
        let other = quota.clone();
        let after = |secs| start + Duration::from_secs(secs);
        let logged: Vec<_> = (0..200)
            .filter(|sec| if sec % 2 == 0 { &quota } else { &other }.allows(after(*sec)))
            .collect();
        assert_eq!(logged, [0, 1, 2, 60, 61, 62, 120, 121, 122, 180, 181, 182]);
        assert!(!quota.allows_if(after(300), || false));
        assert!((0..3).all(|_| quota.allows(after(300))), "that was no line");
        assert!(!quota.allows_if(after(300), || panic!("asked in vain")));
    }
}
