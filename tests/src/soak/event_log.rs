//! The recent events, in order, to explain a finding.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How many events are kept: more than one fault and its aftermath produce.
const MOST: usize = 400;
/// How much of the time before a fault is printed with it.
const BEFORE: Duration = Duration::from_secs(3);

/// The events of the providers, the consumers, etcd and this process, with times. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct EventLog(Arc<Mutex<VecDeque<(Instant, String)>>>);

impl EventLog {
    pub(super) fn note(&self, what: impl Into<String>) {
        let mut lines = self.lines();
        if lines.len() == MOST {
            lines.pop_front();
        }
        lines.push_back((Instant::now(), what.into()));
    }

    /// The events since shortly before `begin`, with times relative to it.
    pub(super) fn around(&self, begin: Instant) -> Vec<String> {
        let lines = self.lines();
        let lately = lines.iter().filter(|(at, _)| *at + BEFORE >= begin);
        let told = lately.map(|(at, what)| {
            let after = at.saturating_duration_since(begin).as_secs_f64();
            let before = begin.saturating_duration_since(*at).as_secs_f64();
            format!("{:+8.3} s  {what}", after - before)
        });
        told.collect()
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
