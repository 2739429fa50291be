//! Measures how long etcd and this process did not run.
//!
//! A lease is lost when its owner sends no keep-alive for a TTL. With a keep-alive every third of
//! it, two thirds remain for faults and for the delays of a busy machine. The plan of faults does
//! not tell which of them lost a lease, so stalls are measured.

use super::event_log::EventLog;
use crate::etcd::Etcd;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// How often a request is sent to etcd.
const ASK: Duration = Duration::from_millis(40);
/// How often this process checks that it runs.
const TURN: Duration = Duration::from_millis(10);
/// A shorter delay is not a stall.
const SHORT: Duration = Duration::from_millis(40);

/// Monitors etcd and this process until it is dropped.
pub(super) struct StallMonitor {
    stalls: Stalls,
    listeners: Vec<AbortOnDropHandle<()>>,
}

#[derive(Debug, Clone, Default)]
struct Stalls(Arc<Mutex<Vec<Stall>>>);

#[derive(Debug, Clone, Copy)]
struct Stall {
    source: Source,
    from: Instant,
    to: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Etcd,
    Ours,
}

impl StallMonitor {
    pub(super) fn listen(etcd: Arc<Etcd>, events: EventLog) -> Self {
        let stalls = Stalls::default();
        let etcd = tokio::spawn(ask(etcd, stalls.clone(), events.clone()));
        let ours = tokio::spawn(run(stalls.clone(), events));
        Self {
            stalls,
            listeners: [etcd, ours].map(AbortOnDropHandle::new).into(),
        }
    }

    /// Stops monitoring, and keeps the stalls so far.
    pub(super) fn stop(&mut self) {
        self.listeners.clear();
    }

    /// How long in this time etcd or this process did not run.
    pub(super) fn total(&self, from: Instant, to: Instant) -> Duration {
        covered(&self.stalls.all(), from, to)
    }

    /// The longest stall of etcd that overlaps with this time, up to its end. Subtracts the stalls
    /// of this process, during which no client in it could notice anything.
    pub(super) fn of_etcd(&self, from: Instant, to: Instant) -> Duration {
        let stalls = self.stalls.all();
        let (etcd, ours): (Vec<Stall>, Vec<Stall>) = stalls
            .iter()
            .partition(|stall| stall.source == Source::Etcd);
        let lately = etcd
            .iter()
            .filter(|stall| stall.from < to && stall.to > from);
        let lengths = lately.map(|stall| {
            let end = stall.to.min(to);
            (end - stall.from).saturating_sub(covered(&ours, stall.from, end))
        });
        lengths.max().unwrap_or_default()
    }

    /// The longest stall of this process so far.
    pub(super) fn of_ours(&self) -> Duration {
        let stalls = self.stalls.all();
        let ours = stalls.iter().filter(|stall| stall.source == Source::Ours);
        ours.map(|stall| stall.to - stall.from)
            .max()
            .unwrap_or_default()
    }
}

/// How much of this time is covered by at least one of the stalls.
fn covered(stalls: &[Stall], from: Instant, to: Instant) -> Duration {
    let mut stalls = stalls.to_vec();
    stalls.sort_by_key(|stall| stall.from);
    let mut counted = from;
    let mut total = Duration::ZERO;
    for stall in stalls {
        let begin = stall.from.max(counted);
        let end = stall.to.min(to);
        total += end.saturating_duration_since(begin);
        counted = counted.max(end);
    }
    total
}

impl Stalls {
    fn add(&self, source: Source, from: Instant, to: Instant, events: &EventLog) {
        let length = to - from;
        if length < SHORT {
            return;
        }
        events.note(match source {
            Source::Etcd => format!("etcd answers, after {length:.3?} of silence"),
            Source::Ours => format!("this process goes on, after {length:.3?} without a turn"),
        });
        self.all().push(Stall { source, from, to });
    }

    fn all(&self) -> MutexGuard<'_, Vec<Stall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(etcd: Arc<Etcd>, stalls: Stalls, events: EventLog) {
    let mut unanswered = None;
    loop {
        let since = *unanswered.get_or_insert(Instant::now());
        if etcd.answers().await {
            stalls.add(Source::Etcd, since, Instant::now(), &events);
            unanswered = None;
        }
        sleep(ASK).await;
    }
}

async fn run(stalls: Stalls, events: EventLog) {
    loop {
        let due = Instant::now() + TURN;
        sleep_until(due).await;
        stalls.add(Source::Ours, due, Instant::now(), &events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_silent_at_the_same_time_is_counted_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let stalls = Stalls::default();
        for (source, from, to) in [
            (Source::Etcd, 100, 600),
            (Source::Ours, 500, 700),
            (Source::Ours, 200, 300),
            (Source::Etcd, 900, 2_000),
        ] {
            stalls.add(source, at(from), at(to), &EventLog::default());
        }
        let silence = StallMonitor {
            stalls,
            listeners: Vec::new(),
        };

        let total = silence.total(at(150), at(1_000));

        assert_eq!(total, Duration::from_millis(450 + 100 + 100));
        // All of it except the stall of this process.
        assert_eq!(
            silence.of_etcd(at(150), at(800)),
            Duration::from_millis(300)
        );
        assert_eq!(
            silence.of_etcd(at(150), at(1_100)),
            Duration::from_millis(300)
        );
        assert_eq!(silence.of_ours(), Duration::from_millis(200));
    }
}
