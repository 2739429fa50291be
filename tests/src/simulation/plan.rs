//! Plans: the actions and faults of a run, and their times, drawn from a seed.

use super::faults::{Fault, Outage, Target};
use fastrand::Rng;
use std::{fmt, time::Duration};

/// An action of a provider or a consumer, or a fault. An action that is not possible at its time
/// (the crash of a provider that does not run) is skipped, so that any part of a plan is a valid
/// plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A provider starts and registers, or registers again if it only left. It has the keys and
    /// addresses of the provider that had its slot before.
    Join(usize),
    /// A provider deregisters, and stays to join again.
    Leave(usize),
    /// A provider deregisters, closes its client and ends.
    Quit(usize),
    /// A provider is killed.
    Crash(usize),
    /// A provider drops everything it has.
    Vanish(usize),
    /// A provider starts with the keys of one that still runs. The old one quits soon after.
    Overtake(usize),
    /// A provider writes a new value.
    Update(usize),
    /// A provider announces draining, and stays.
    Drain(usize),
    /// A consumer starts.
    Follow(usize),
    /// A consumer stops, and waits until everything it started has ended.
    Stop(usize),
    /// A consumer drops everything it has.
    Abandon(usize),
    /// Something goes wrong.
    Fault(Fault),
}

/// An action and its time, counted from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The time.
    pub at: Duration,
    /// The action.
    pub action: Action,
}

/// Everything that happens in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The seed for everything else: the options of providers and consumers, and the jitter.
    pub seed: u64,
    /// The end of the last step.
    pub horizon: Duration,
    /// The steps, ordered by time.
    pub steps: Vec<Step>,
}

/// How long a calm period is: long enough to check every bound.
const CALM: Duration = Duration::from_secs(150);

impl Plan {
    /// The plan of this seed. One in ten has dozens of providers and consumers.
    pub fn draw(seed: u64, horizon: Duration) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (providers, consumers) = match rng.u32(..10) {
            0 => (rng.usize(12..=36), rng.usize(8..=24)),
            _ => (rng.usize(1..=6), rng.usize(1..=4)),
        };
        let mut draft = Draft {
            rng,
            providers,
            consumers,
            steps: Vec::new(),
            outage: false,
            delayed: false,
        };
        draft.fill(horizon);
        let mut steps = draft.steps;
        steps.sort_by_key(|step| step.at);
        Self {
            seed,
            horizon,
            steps,
        }
    }

    /// A plan of these steps, each with its time in milliseconds, in the form in which plans are
    /// printed.
    pub fn of(
        seed: u64,
        horizon: Duration,
        steps: impl IntoIterator<Item = (u64, Action)>,
    ) -> Self {
        let step = |(millis, action)| Step {
            at: Duration::from_millis(millis),
            action,
        };
        Self {
            seed,
            horizon,
            steps: steps.into_iter().map(step).collect(),
        }
    }

    /// How many providers and how many consumers there may be.
    pub(super) fn slots(&self) -> (usize, usize) {
        let (mut providers, mut consumers) = (0, 0);
        for step in &self.steps {
            match step.action {
                Action::Join(n)
                | Action::Leave(n)
                | Action::Quit(n)
                | Action::Crash(n)
                | Action::Vanish(n)
                | Action::Overtake(n)
                | Action::Update(n)
                | Action::Drain(n) => providers = providers.max(n + 1),
                Action::Follow(n) | Action::Stop(n) | Action::Abandon(n) => {
                    consumers = consumers.max(n + 1);
                }
                Action::Fault(
                    Fault::Expire(target) | Fault::Delete(target) | Fault::Overwrite { target, .. },
                ) => providers = providers.max(target.provider + 1),
                Action::Fault(_) => {}
            }
        }
        (providers, consumers)
    }
}

struct Draft {
    rng: Rng,
    providers: usize,
    consumers: usize,
    steps: Vec<Step>,
    /// Whether there is an outage.
    outage: bool,
    delayed: bool,
}

impl Draft {
    fn fill(&mut self, horizon: Duration) {
        for n in 0..self.providers {
            let at = self.millis(0, 3_000);
            self.steps.push(Step {
                at,
                action: Action::Join(n),
            });
        }
        for n in 0..self.consumers {
            let at = self.millis(0, 5_000);
            self.steps.push(Step {
                at,
                action: Action::Follow(n),
            });
        }
        let mut at = Duration::ZERO;
        let mut until_calm = self.rng.u32(10..60);
        loop {
            at += match self.rng.u32(..10) {
                0 => Duration::ZERO,
                1..=2 => self.millis(1, 50),
                3..=6 => self.millis(50, 5_000),
                _ => self.millis(5_000, 40_000),
            };
            until_calm -= 1;
            if until_calm == 0 {
                until_calm = self.rng.u32(10..60);
                self.put_right(at);
                at += CALM;
            }
            if at >= horizon {
                return;
            }
            let action = self.action();
            self.steps.push(Step { at, action });
        }
    }

    /// Adds the ends of faults that do not end by themselves.
    fn put_right(&mut self, at: Duration) {
        self.outage = false;
        self.delayed = false;
        for fault in [Fault::End, Fault::Delay(Duration::ZERO), Fault::Erase] {
            let action = Action::Fault(fault);
            self.steps.push(Step { at, action });
        }
    }

    fn action(&mut self) -> Action {
        let (provider, consumer) = (
            self.rng.usize(..self.providers),
            self.rng.usize(..self.consumers),
        );
        match self.rng.u32(..100) {
            // Half of all joins are skipped, since the provider runs already.
            0..=17 => Action::Join(provider),
            18..=20 => Action::Leave(provider),
            21..=23 => Action::Quit(provider),
            24..=27 => Action::Crash(provider),
            28..=30 => Action::Vanish(provider),
            31..=33 => Action::Overtake(provider),
            34..=39 => Action::Update(provider),
            40..=41 => Action::Drain(provider),
            42..=48 => Action::Follow(consumer),
            49..=50 => Action::Stop(consumer),
            51..=52 => Action::Abandon(consumer),
            _ => Action::Fault(self.fault(provider)),
        }
    }

    fn fault(&mut self, provider: usize) -> Fault {
        let target = Target {
            provider,
            offer: self.rng.usize(..2),
        };
        if self.outage && self.rng.u32(..3) > 0 {
            self.outage = false;
            return Fault::End;
        }
        if self.delayed && self.rng.u32(..3) == 0 {
            self.delayed = false;
            return Fault::Delay(Duration::ZERO);
        }
        match self.rng.u32(..100) {
            0..=39 if !self.outage => {
                self.outage = true;
                Fault::Begin(match self.rng.u32(..8) {
                    0..=2 => Outage::Freeze,
                    3..=4 => Outage::Kill,
                    5..=6 => Outage::Refuse,
                    _ => Outage::Deny,
                })
            }
            0..=52 => Fault::Disconnect,
            53..=60 => Fault::Compact,
            61..=64 => {
                self.delayed = true;
                Fault::Delay(self.millis(1, 1_200))
            }
            65..=71 => Fault::Rebuild {
                ahead: self.rng.bool(),
            },
            72..=80 => Fault::Expire(target),
            81..=88 => Fault::Delete(target),
            89..=94 => Fault::Overwrite {
                target,
                garbage: self.rng.bool(),
            },
            _ => Fault::Erase,
        }
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.u64(from..=to))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(n) => write!(f, "p{n} joins"),
            Self::Leave(n) => write!(f, "p{n} leaves"),
            Self::Quit(n) => write!(f, "p{n} quits"),
            Self::Crash(n) => write!(f, "p{n} crashes"),
            Self::Vanish(n) => write!(f, "p{n} vanishes"),
            Self::Overtake(n) => write!(f, "p{n} is overtaken"),
            Self::Update(n) => write!(f, "p{n} updates"),
            Self::Drain(n) => write!(f, "p{n} drains"),
            Self::Follow(n) => write!(f, "c{n} follows"),
            Self::Stop(n) => write!(f, "c{n} stops"),
            Self::Abandon(n) => write!(f, "c{n} is abandoned"),
            Self::Fault(fault) => write!(f, "fault: {fault}"),
        }
    }
}

/// Prints each step in the form that [`Plan::of`] takes, so that a plan can be made into a test.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (providers, consumers) = self.slots();
        writeln!(
            f,
            "seed {}: {providers} providers, {consumers} consumers, {:?}",
            self.seed, self.horizon
        )?;
        for step in &self.steps {
            writeln!(f, "    ({}, {:?}),", step.at.as_millis(), step.action)?;
        }
        Ok(())
    }
}
