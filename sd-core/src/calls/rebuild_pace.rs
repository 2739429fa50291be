//! How often a table is built.

use std::time::Duration;
use tokio::time::Instant;

/// Building takes at most one part in this many of the time.
const SHARE: u32 = 10;
/// A shorter pause is skipped: tokio's timers have this resolution.
const PAUSE_LEAST: Duration = Duration::from_millis(1);
/// The longest pause: a change is in the table after this and the time of one build.
const PAUSE_MOST: Duration = Duration::from_secs(1);

/// Spaces the builds of one table: a single change is built at once, and under continuous change
/// building takes at most a tenth of the time.
pub(super) struct RebuildPace {
    next: Instant,
}

impl RebuildPace {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// When the table may be built next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// The table was built.
    pub(super) fn built(&mut self, began: Instant, ended: Instant) {
        let pause = (ended - began) * (SHARE - 1);
        self.next = if pause < PAUSE_LEAST {
            ended
        } else {
            ended + pause.min(PAUSE_MOST)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn building_takes_a_tenth_of_the_time_at_most() {
        let began = Instant::now();
        let mut pace = RebuildPace::new(began);
        assert_eq!(pace.next(), began);
        for (takes, pause) in [(0.1, 0.0), (2.0, 18.0), (1000.0, 1000.0)] {
            let [takes, pause] =
                [takes, pause].map(|millis: f64| Duration::from_secs_f64(millis / 1000.0));
            pace.built(began, began + takes);
            assert_eq!(pace.next(), began + takes + pause);
        }
    }
}
