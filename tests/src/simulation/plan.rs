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
    /// A provider makes new registrars of its keys on the client that it has.
    Reload(usize, Reload),
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
    /// The next call of a provider's client panics.
    ProviderPanic(usize),
    /// The next call of a consumer's client panics.
    ConsumerPanic(usize),
    /// Something goes wrong.
    Fault(Fault),
}

/// What becomes of the registrars that a provider had before it made new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// They deregister at the same moment.
    Drain,
    /// They deregister a while later, and go on until then.
    Overlap,
    /// They are dropped, in the middle of a call if they are in one.
    Drop,
    /// The same, and several others are made and dropped in the middle of their call before those
    /// that stay.
    Retry,
}

/// Steps that belong together and can be [left out](Plan::without) of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Action::Reload`].
    Reload,
    /// [`Fault::Restore`].
    Rollback,
    /// [`Fault::ExpireAll`] and [`Fault::CutOff`].
    MassLoss,
    /// [`Outage::Stall`].
    Stalls,
    /// [`Action::ProviderPanic`] and [`Action::ConsumerPanic`].
    Panics,
}

impl Kind {
    /// All kinds, each with its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("reload", Self::Reload),
        ("rollback", Self::Rollback),
        ("loss", Self::MassLoss),
        ("stalls", Self::Stalls),
        ("panics", Self::Panics),
    ];

    fn of(action: Action) -> Option<Self> {
        match action {
            Action::Reload(..) => Some(Self::Reload),
            Action::Fault(Fault::Restore { .. }) => Some(Self::Rollback),
            Action::Fault(Fault::ExpireAll | Fault::CutOff) => Some(Self::MassLoss),
            Action::Fault(Fault::Begin(Outage::Stall)) => Some(Self::Stalls),
            Action::ProviderPanic(_) | Action::ConsumerPanic(_) => Some(Self::Panics),
            _ => None,
        }
    }
}

/// A action and its time, counted from the start.
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
    /// What is left out, and not checked.
    pub(super) left_out: Vec<Kind>,
}

/// How long a calm period is: long enough to check every bound.
const CALM: Duration = Duration::from_secs(150);

/// What ends all that does not end by itself.
pub(super) const PUT_RIGHT: [Fault; 4] = [
    Fault::End,
    Fault::Delay(Duration::ZERO),
    Fault::Reconnect,
    Fault::Erase,
];

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
            outage: None,
            delayed: false,
            cut_off: false,
        };
        draft.fill(horizon);
        let mut steps = draft.steps;
        steps.sort_by_key(|step| step.at);
        Self {
            seed,
            horizon,
            steps,
            left_out: Vec::new(),
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
            left_out: Vec::new(),
        }
    }

    /// The plan without the steps of these kinds, and without the checks that belong to them.
    #[must_use]
    pub fn without(mut self, kinds: &[Kind]) -> Self {
        let is_left_out = |action| Kind::of(action).is_some_and(|kind| kinds.contains(&kind));
        self.steps.retain(|step| !is_left_out(step.action));
        self.left_out.extend(kinds);
        self
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
                | Action::Reload(n, _)
                | Action::Update(n)
                | Action::Drain(n)
                | Action::ProviderPanic(n) => providers = providers.max(n + 1),
                Action::Follow(n)
                | Action::Stop(n)
                | Action::Abandon(n)
                | Action::ConsumerPanic(n) => {
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
    /// Which outage lasts.
    outage: Option<Outage>,
    delayed: bool,
    cut_off: bool,
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
            if self.rng.u32(..80) == 0 {
                self.stall_again_and_again(at, horizon);
            }
            let action = self.action();
            self.steps.push(Step { at, action });
        }
    }

    /// Short stalls at regular intervals, whatever else happens meanwhile.
    fn stall_again_and_again(&mut self, mut at: Duration, horizon: Duration) {
        let (stall, pause) = (self.millis(500, 3_000), self.millis(2_000, 8_000));
        for _ in 0..self.rng.u32(5..30) {
            for (fault, lasting) in [(Fault::Begin(Outage::Freeze), stall), (Fault::End, pause)] {
                if at < horizon {
                    let action = Action::Fault(fault);
                    self.steps.push(Step { at, action });
                }
                at += lasting;
            }
        }
    }

    /// Ends what does not end by itself.
    fn put_right(&mut self, at: Duration) {
        self.outage = None;
        self.delayed = false;
        self.cut_off = false;
        for fault in PUT_RIGHT {
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
            // Those who are gone come back: half of all joins find nothing to do.
            0..=15 => Action::Join(provider),
            16..=18 => Action::Leave(provider),
            19..=21 => Action::Quit(provider),
            22..=25 => Action::Crash(provider),
            26..=27 => Action::Vanish(provider),
            28..=30 => Action::Overtake(provider),
            31..=36 => Action::Reload(provider, self.reload()),
            37..=41 => Action::Update(provider),
            42..=43 => Action::Drain(provider),
            44..=50 => Action::Follow(consumer),
            51..=52 => Action::Stop(consumer),
            53..=54 => Action::Abandon(consumer),
            55 => Action::ProviderPanic(provider),
            56 => Action::ConsumerPanic(consumer),
            _ => Action::Fault(self.fault(provider)),
        }
    }

    fn reload(&mut self) -> Reload {
        match self.rng.u32(..4) {
            0 => Reload::Drain,
            1 => Reload::Overlap,
            2 => Reload::Drop,
            _ => Reload::Retry,
        }
    }

    fn fault(&mut self, provider: usize) -> Fault {
        let target = Target {
            provider,
            offer: self.rng.usize(..2),
        };
        // Stalls matter once they have lasted.
        let ends = match self.outage {
            Some(Outage::Stall) => self.rng.u32(..8) == 0,
            Some(_) => self.rng.u32(..3) > 0,
            None => false,
        };
        if ends {
            self.outage = None;
            return Fault::End;
        }
        if self.delayed && self.rng.u32(..3) == 0 {
            self.delayed = false;
            return Fault::Delay(Duration::ZERO);
        }
        if self.cut_off && self.rng.u32(..3) == 0 {
            self.cut_off = false;
            return Fault::Reconnect;
        }
        match self.rng.u32(..100) {
            0..=37 if self.outage.is_none() => {
                let outage = match self.rng.u32(..9) {
                    0..=2 => Outage::Freeze,
                    3..=4 => Outage::Kill,
                    5..=6 => Outage::Refuse,
                    7 => Outage::Deny,
                    _ => Outage::Stall,
                };
                self.outage = Some(outage);
                Fault::Begin(outage)
            }
            0..=48 => Fault::Disconnect,
            49..=55 => Fault::Compact,
            56..=59 => {
                self.delayed = true;
                Fault::Delay(self.millis(1, 1_200))
            }
            60..=64 => Fault::Rebuild {
                ahead: self.rng.bool(),
            },
            65..=71 => Fault::Expire(target),
            72..=78 => Fault::Delete(target),
            79..=84 => Fault::Overwrite {
                target,
                garbage: self.rng.bool(),
            },
            85..=87 => Fault::ExpireAll,
            88..=89 => {
                self.cut_off = true;
                Fault::CutOff
            }
            90..=92 => Fault::Backup,
            93..=95 => Fault::Restore {
                bump: self.rng.bool(),
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
            Self::Reload(n, how) => write!(f, "p{n} reloads ({how:?})"),
            Self::Update(n) => write!(f, "p{n} updates"),
            Self::Drain(n) => write!(f, "p{n} drains"),
            Self::Follow(n) => write!(f, "c{n} follows"),
            Self::Stop(n) => write!(f, "c{n} stops"),
            Self::Abandon(n) => write!(f, "c{n} is abandoned"),
            Self::ProviderPanic(n) => write!(f, "the next call of p{n} panics"),
            Self::ConsumerPanic(n) => write!(f, "the next call of c{n} panics"),
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
