//! What was measured: how often, how fast, how long at most.

use serde::Serialize;
use std::time::{Duration, Instant};

/// A phase that goes on.
pub(crate) struct Phase {
    name: &'static str,
    start: Instant,
    times: Vec<Duration>,
}

/// A phase that has ended.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) phase: &'static str,
    pub(crate) count: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Phase {
    pub(crate) fn begin(name: &'static str) -> Self {
        Self {
            name,
            start: Instant::now(),
            times: Vec::new(),
        }
    }

    /// One more, which took so long.
    pub(crate) fn took(&mut self, time: Duration) {
        self.times.push(time);
    }

    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn end(mut self) -> Measured {
        let seconds = self.start.elapsed().as_secs_f64();
        self.times.sort_unstable();
        let count = self.times.len();
        // The smallest time that so many percent did not exceed.
        let percentile = |percent: usize| {
            let rank = (count * percent).div_ceil(100).max(1);
            self.times
                .get(rank - 1)
                .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Measured {
            phase: self.name,
            count,
            per_second: if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            },
            p50_ms: percentile(50),
            p90_ms: percentile(90),
            p99_ms: percentile(99),
            max_ms: percentile(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_taken() {
        let mut phase = Phase::begin("x");
        for ms in (1..=200).rev() {
            phase.took(Duration::from_millis(ms));
        }
        let measured = phase.end();
        assert_eq!(
            (measured.p50_ms, measured.p99_ms, measured.max_ms),
            (100.0, 198.0, 200.0)
        );
        let none = Phase::begin("x").end();
        assert_eq!((none.count, none.max_ms), (0, 0.0));
    }
}
