//! Scenarios: how many instances there are, how much they have to do, and which one is odd.

use super::host::Condition;
use std::{fmt, ops::Range, time::Duration};

/// Instances of which one is not like the others for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scenario {
    /// How many instances there are.
    pub(super) instances: usize,
    /// How many calls an instance serves at a time.
    pub(super) workers: usize,
    /// How long a call is served on average, by an instance that is well.
    pub(super) service: Duration,
    /// The calls that arrive, as a part of those that the instances can serve if all are well.
    pub(super) utilisation: f64,
    /// When a caller gives up. Its call leaves the queue, but a worker that has begun goes on.
    pub(super) timeout: Duration,
    /// What is the matter with the last of the instances.
    pub(super) odd: Odd,
    /// When that begins, and when the instance is well again or, if it is later than the end, is
    /// not.
    pub(super) odd_during: (Duration, Duration),
    /// When no more calls arrive.
    pub(super) end: Duration,
}

/// What is the matter with one of the instances.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub(super) enum Odd {
    /// Nothing.
    Well,
    /// It takes this many times as long as the others.
    Slow(f64),
    /// It fails each call at once.
    Failing,
    /// It does not exist before. At first it takes this many times as long as the others; it
    /// becomes faster evenly until the end of the odd period.
    New(f64),
}

const SECOND: Duration = Duration::from_secs(1);
/// How long a call takes that fails at once.
pub(super) const FAILS_AFTER: Duration = Duration::from_micros(100);

impl Scenario {
    /// The instance that is odd, of [`instances`](Self::instances).
    pub(super) const ODD_ONE: usize = 9;

    /// Ten instances with four workers each, which need 10 ms a call on average. Callers wait for
    /// one second.
    pub(super) fn new(odd: Odd, utilisation: f64) -> Self {
        let (from, until, end) = match odd {
            Odd::Well | Odd::Slow(_) => (10, 70, 70),
            // Longer than a first ejection, and with time to be let in after the second one.
            Odd::Failing => (10, 55, 150),
            // When the others are new no longer.
            Odd::New(_) => (40, 70, 90),
        };
        Self {
            instances: 10,
            workers: 4,
            service: Duration::from_millis(10),
            utilisation,
            timeout: SECOND,
            odd,
            odd_during: (from * SECOND, until * SECOND),
            end: end * SECOND,
        }
    }

    /// Those that the measure prints.
    pub(crate) fn all() -> Vec<Self> {
        [
            Self::new(Odd::Well, 0.6),
            Self::new(Odd::Slow(10.0), 0.6),
            Self::new(Odd::Slow(10.0), 0.08),
            Self::new(Odd::Failing, 0.6),
            Self::new(Odd::New(3.0), 0.6),
        ]
        .to_vec()
    }

    /// Its name in JSON.
    pub(super) fn name(&self) -> &'static str {
        match self.odd {
            Odd::Well => "well",
            Odd::Slow(_) => "slow",
            Odd::Failing => "failing",
            Odd::New(_) => "new",
        }
    }

    /// When one of the instances is odd, without the first second of it.
    pub(super) fn odd_period(&self) -> Range<Duration> {
        let (from, until) = self.odd_during;
        from + SECOND..until.min(self.end)
    }

    /// The last ten seconds.
    pub(super) fn last_period(&self) -> Range<Duration> {
        self.end - 10 * SECOND..self.end
    }

    /// How many calls arrive in a second on average.
    pub(super) fn arrivals(&self) -> f64 {
        let capacity = (self.instances * self.workers) as f64 / self.service.as_secs_f64();
        capacity * self.utilisation
    }

    /// Whether an instance exists from the start on.
    pub(super) fn exists_at_first(&self, instance: usize) -> bool {
        instance != Self::ODD_ONE || !matches!(self.odd, Odd::New(_))
    }

    /// How an instance is at `now`.
    pub(super) fn condition(&self, instance: usize, now: Duration) -> Condition {
        let (from, until) = self.odd_during;
        if instance != Self::ODD_ONE || !(from..until).contains(&now) {
            return Condition::Serving { times: 1.0 };
        }
        match self.odd {
            Odd::Well => Condition::Serving { times: 1.0 },
            Odd::Slow(times) => Condition::Serving { times },
            Odd::Failing => Condition::Failing,
            Odd::New(times) => {
                let left = (until - now).as_secs_f64() / (until - from).as_secs_f64();
                let times = 1.0 + (times - 1.0) * left;
                Condition::Serving { times }
            }
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = self.odd_during;
        let lasting = (until - from).as_secs();
        let percent = (self.utilisation * 100.0).round();
        let all = self.instances;
        match self.odd {
            Odd::Well => write!(f, "all {all} are well")?,
            Odd::Slow(times) => write!(f, "1 of {all} is {times} times slower")?,
            Odd::Failing => write!(f, "1 of {all} fails at once for {lasting} s")?,
            Odd::New(times) => write!(
                f,
                "1 of {all} is new, {times} times slower at first and warm after {lasting} s"
            )?,
        }
        write!(f, "; utilisation {percent} %")
    }
}
