//! Histories: how the calls of a simulation went.

use crate::statistics::quantile;
use std::{ops::Range, time::Duration};

/// The calls of a simulation, in the order of their arrivals.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct History(Vec<Ended>);

/// A call that has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ended {
    /// When it arrived, after the start of the simulation.
    pub(super) arrived: Duration,
    /// Where it was sent; `None` if there were no endpoints.
    pub(super) instance: Option<usize>,
    /// How long the caller waited.
    pub(super) latency: Duration,
    /// How it ended.
    pub(super) end: End,
}

/// How a call ended, for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With an answer.
    Answered,
    /// The instance failed, or there was none.
    Failed,
    /// The caller gave up.
    TimedOut,
}

impl History {
    /// These calls, in the order of their arrivals.
    pub(super) fn new(calls: impl Iterator<Item = Ended>) -> Self {
        Self(calls.collect())
    }

    /// How many calls there were.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The calls that arrived in a period.
    #[must_use]
    pub(super) fn during(&self, period: Range<Duration>) -> Self {
        let calls = self.0.iter().filter(|call| period.contains(&call.arrived));
        Self(calls.copied().collect())
    }

    /// The latency that this part of the calls did not exceed. Calls that failed are left out,
    /// since they end early.
    pub(super) fn latency(&self, rank: f64) -> Duration {
        let mut seconds: Vec<_> = self
            .0
            .iter()
            .filter(|call| call.end != End::Failed)
            .map(|call| call.latency.as_secs_f64())
            .collect();
        Duration::try_from_secs_f64(quantile(&mut seconds, rank)).unwrap_or_default()
    }

    /// The mean latency in seconds.
    #[cfg(test)]
    pub(super) fn mean_latency(&self) -> f64 {
        let sum: f64 = self.0.iter().map(|call| call.latency.as_secs_f64()).sum();
        sum / self.0.len() as f64
    }

    /// The part of the calls that ended so, between 0 and 1.
    pub(super) fn part(&self, end: End) -> f64 {
        self.part_where(|call| call.end == end)
    }

    /// The part of the calls that one of the instances got.
    pub(super) fn part_of(&self, instance: usize) -> f64 {
        self.part_where(|call| call.instance == Some(instance))
    }

    /// When the first call after `time` arrived that this instance got.
    #[cfg(test)]
    pub(super) fn first_to(&self, instance: usize, time: Duration) -> Duration {
        let mut calls = self.0.iter().filter(|call| call.arrived > time);
        let first = calls.find(|call| call.instance == Some(instance));
        first.expect("it gets calls").arrived
    }

    fn part_where(&self, is_so: impl Fn(&Ended) -> bool) -> f64 {
        let count = self.0.iter().filter(|call| is_so(call)).count();
        count as f64 / self.0.len() as f64
    }
}
