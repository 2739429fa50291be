//! How long etcd, or this process, did nothing, whoever is to blame for it.
//!
//! A lease is lost when nothing is heard of its owner for a TTL. Of that a keep-alive every third
//! leaves two thirds to faults and to a machine that has too much to do. Which of them it was
//! cannot be told from the plan of the faults; so it is measured.

use super::record::Record;
use crate::etcd::Etcd;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// How often etcd is asked for a word.
const ASK: Duration = Duration::from_millis(40);
/// How often this process looks whether it runs.
const TURN: Duration = Duration::from_millis(10);
/// What takes no longer is nothing to speak of.
const SHORT: Duration = Duration::from_millis(40);

/// Listens to etcd and to this process, until it is dropped.
pub(super) struct Silence {
    gaps: Gaps,
    listeners: Vec<AbortOnDropHandle<()>>,
}

#[derive(Debug, Clone, Default)]
struct Gaps(Arc<Mutex<Vec<Gap>>>);

#[derive(Debug, Clone, Copy)]
struct Gap {
    whose: Whose,
    from: Instant,
    to: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Etcd,
    Ours,
}

impl Silence {
    pub(super) fn listen(etcd: Arc<Etcd>, record: Record) -> Self {
        let gaps = Gaps::default();
        let etcd = tokio::spawn(ask(etcd, gaps.clone(), record.clone()));
        let ours = tokio::spawn(run(gaps.clone(), record));
        Self {
            gaps,
            listeners: [etcd, ours].map(AbortOnDropHandle::new).into(),
        }
    }

    /// Listens no more; what was heard so far is kept.
    pub(super) fn stop(&mut self) {
        self.listeners.clear();
    }

    /// For how long in this time either did nothing.
    pub(super) fn total(&self, from: Instant, to: Instant) -> Duration {
        covered(&self.gaps.all(), from, to)
    }

    /// The longest time for which etcd did nothing, of those that reach into this one and as far as
    /// they do so by its end; what this process slept through meanwhile nobody in it could notice.
    pub(super) fn of_etcd(&self, from: Instant, to: Instant) -> Duration {
        let gaps = self.gaps.all();
        let (etcd, ours): (Vec<Gap>, Vec<Gap>) =
            gaps.iter().partition(|gap| gap.whose == Whose::Etcd);
        let lately = etcd.iter().filter(|gap| gap.from < to && gap.to > from);
        let lengths = lately.map(|gap| {
            let end = gap.to.min(to);
            (end - gap.from).saturating_sub(covered(&ours, gap.from, end))
        });
        lengths.max().unwrap_or_default()
    }

    /// The longest time for which this process did nothing, ever.
    pub(super) fn of_ours(&self) -> Duration {
        let gaps = self.gaps.all();
        let ours = gaps.iter().filter(|gap| gap.whose == Whose::Ours);
        ours.map(|gap| gap.to - gap.from).max().unwrap_or_default()
    }
}

/// How much of this time is in at least one of the gaps.
fn covered(gaps: &[Gap], from: Instant, to: Instant) -> Duration {
    let mut gaps = gaps.to_vec();
    gaps.sort_by_key(|gap| gap.from);
    let mut counted = from;
    let mut total = Duration::ZERO;
    for gap in gaps {
        let begin = gap.from.max(counted);
        let end = gap.to.min(to);
        total += end.saturating_duration_since(begin);
        counted = counted.max(end);
    }
    total
}

impl Gaps {
    fn add(&self, whose: Whose, from: Instant, to: Instant, record: &Record) {
        let length = to - from;
        if length < SHORT {
            return;
        }
        record.note(match whose {
            Whose::Etcd => format!("etcd answers, after {length:.3?} of silence"),
            Whose::Ours => format!("this process goes on, after {length:.3?} without a turn"),
        });
        self.all().push(Gap { whose, from, to });
    }

    fn all(&self) -> MutexGuard<'_, Vec<Gap>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(etcd: Arc<Etcd>, gaps: Gaps, record: Record) {
    let mut unanswered = None;
    loop {
        let since = *unanswered.get_or_insert(Instant::now());
        if etcd.answers().await {
            gaps.add(Whose::Etcd, since, Instant::now(), &record);
            unanswered = None;
        }
        sleep(ASK).await;
    }
}

async fn run(gaps: Gaps, record: Record) {
    loop {
        let due = Instant::now() + TURN;
        sleep_until(due).await;
        gaps.add(Whose::Ours, due, Instant::now(), &record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_silent_at_the_same_time_is_counted_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let gaps = Gaps::default();
        for (whose, from, to) in [
            (Whose::Etcd, 100, 600),
            (Whose::Ours, 500, 700),
            (Whose::Ours, 200, 300),
            (Whose::Etcd, 900, 2_000),
        ] {
            gaps.add(whose, at(from), at(to), &Record::default());
        }
        let silence = Silence {
            gaps,
            listeners: Vec::new(),
        };

        let total = silence.total(at(150), at(1_000));

        assert_eq!(total, Duration::from_millis(450 + 100 + 100));
        // All of it but for what this process slept.
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
