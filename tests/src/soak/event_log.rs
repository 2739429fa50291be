//! What happened lately, in the order in which it did, so that a find explains itself.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// More than one fault and its aftermath leave behind.
const MOST: usize = 400;
/// So much of what was before a fault is told with it.
const BEFORE: Duration = Duration::from_secs(3);

/// What the providers, the consumers, etcd and this process did, and when. Cheap to clone.
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

    /// What happened since shortly before `begin`, with times that count from there.
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
