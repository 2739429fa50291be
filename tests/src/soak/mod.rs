//! A soak: providers and consumers on a real etcd, for as long as it is told to, while one fault
//! after the other comes over them.
//!
//! A test of one fault begins where all is well. What goes wrong in production begins in whatever
//! the faults before have left: a lease that was re-granted, a connection made anew, a history that
//! is not the one it was. So here they follow each other, drawn from a seed, and after each the
//! views of all consumers, etcd's keys and leases and the list of living providers must agree
//! within [`DEADLINE`], with no more watches, streams and connections than they need. In between,
//! no consumer may miss an instance that the fault did not touch, nor see one again that was gone.
//! Now and then everything stops, and nothing may remain: no key, lease, watch or connection at
//! etcd; no task, and no more memory than the time before.
//!
//! A machine that is too busy to let anybody run loses leases too. So what etcd and this process
//! are silent for is measured: a provider that vanishes for a moment, where that explains it, is
//! noted and breaks no promise.
//!
//! ```no_run
//! # use sd_tests::soak::{Soak, soak};
//! # use std::time::Duration;
//! # #[tokio::main] async fn main() {
//! let outcome = soak(Soak::new(7, Duration::from_secs(600)), |line| println!("{line}")).await;
//! outcome.expect("seed 7 keeps all promises");
//! # }
//! ```
//!
//! The same seed has the same faults in the same order; how many there is time for depends on the
//! machine.

mod audit;
mod checks;
mod plan;
mod record;
mod silence;
mod world;

pub use plan::{Cut, Fault, Plan, Who};

use crate::etcd::Etcd;
use checks::{Ground, resident};
use std::{fmt, path::PathBuf, time::Duration};
use tokio::time::Instant;
use world::{Agreement, World};

/// All agree at most so long after a fault is over: a grace period, a TTL (twice, since a restarted
/// etcd begins it anew), and what a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// After so many faults everything stops and begins again.
const ROUND: usize = 12;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Soak {
    seed: u64,
    lasting: Duration,
    etcd: Option<PathBuf>,
    first: usize,
    kinds: Vec<String>,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Line {
    /// Which fault it is, from 1; 0 where everything stops.
    pub number: usize,
    /// Since the start.
    pub at: Duration,
    /// What.
    pub what: String,
    /// What was waited for then: that all agree, or that nothing is left.
    pub then: &'static str,
    /// How long that took.
    pub took: Duration,
    /// What else is worth a word, and breaks no promise.
    pub notes: Vec<String>,
}

/// How it went.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How many faults there were.
    pub faults: usize,
    /// How many times everything stopped and nothing was left.
    pub rounds: usize,
    /// The longest time until all agreed.
    pub slowest: Duration,
    /// The longest time for which the machine did not let this process run.
    pub stalled: Duration,
    /// How much was [noted](Line::notes).
    pub notes: usize,
    /// The resident memory after each round, in bytes; empty where the system does not say.
    pub resident: Vec<u64>,
}

/// A promise was broken.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The seed that did it.
    pub seed: u64,
    /// The first fault of the round in which it happened; a run that [begins](Soak::from) there has
    /// the same faults.
    pub first: usize,
    /// The kinds that it was of, if not of all.
    pub kinds: Vec<String>,
    /// Everything in that round up to there; the last is what was being done.
    pub history: Vec<String>,
    /// Which promise.
    pub why: String,
    /// Who did what when since the last fault began, and how it stands now.
    pub account: Vec<String>,
}

impl Soak {
    /// The faults of `seed` for so long, on the etcd that [`Etcd::start`] takes.
    pub fn new(seed: u64, lasting: Duration) -> Self {
        Self {
            seed,
            lasting,
            etcd: None,
            first: 1,
            kinds: Vec::new(),
        }
    }

    /// On another etcd.
    #[must_use]
    pub fn etcd(mut self, binary: impl Into<PathBuf>) -> Self {
        self.etcd = Some(binary.into());
        self
    }

    /// From this fault of the plan on, counted from 1.
    #[must_use]
    pub fn from(mut self, first: usize) -> Self {
        self.first = first.max(1);
        self
    }

    /// Only faults of these [kinds](Fault::KINDS); it is another plan then.
    #[must_use]
    pub fn only(mut self, kinds: impl IntoIterator<Item = String>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }
}

/// Runs it, and tells each thing that happened when it is over.
///
/// # Errors
/// The first promise that was broken.
///
/// # Panics
/// If etcd cannot be started, or does not answer to the test itself.
pub async fn soak(soak: Soak, mut tell: impl FnMut(&Line)) -> Result<Summary, Broken> {
    let mut setup = Etcd::setup();
    if let Some(binary) = soak.etcd {
        setup = setup.binary(binary);
    }
    let mut plan = Plan::draw(soak.seed).only(soak.kinds.clone());
    let mut number = plan.by_ref().take(soak.first - 1).count();
    let mut ground = Ground::new(setup.start().await).await;
    let mut summary = Summary::default();
    let start = Instant::now();
    while start.elapsed() < soak.lasting {
        let mut round = Round {
            seed: soak.seed,
            kinds: soak.kinds.clone(),
            first: number + 1,
            history: Vec::new(),
            world: World::start(ground.etcd(), plan.living()).await,
        };
        let agreed = round.world.agree().await;
        round.keeps(agreed)?;
        let mut is_over = false;
        for _ in 0..ROUND {
            let fault = plan.next().filter(|_| start.elapsed() < soak.lasting);
            let Some(fault) = fault else {
                is_over = true;
                break;
            };
            let at = start.elapsed();
            number += 1;
            round.enter(number, at, &fault);
            let suffered = round.world.suffer(fault).await;
            round.keeps(suffered)?;
            let agreed = round.world.agree().await;
            let Agreement { took, notes } = round.keeps(agreed)?;
            summary.faults += 1;
            summary.slowest = summary.slowest.max(took);
            summary.notes += notes.len();
            tell(&Line {
                number,
                at,
                what: fault.to_string(),
                then: "all agree",
                took,
                notes,
            });
        }
        let at = start.elapsed();
        round.enter(0, at, &STOP);
        let stopped = round.world.stop().await;
        round.keeps(stopped)?;
        summary.stalled = summary.stalled.max(round.world.stalled());
        let took = ground.is_clean().await;
        let took = took.map_err(|why| round.broken(why))?;
        summary.rounds += 1;
        summary.resident.extend(resident());
        tell(&Line {
            number: 0,
            at,
            what: STOP.to_owned(),
            then: "nothing is left",
            took,
            notes: Vec::new(),
        });
        if is_over {
            break;
        }
    }
    Ok(summary)
}

const STOP: &str = "everything stops";

/// From a start to a stop.
struct Round {
    seed: u64,
    kinds: Vec<String>,
    first: usize,
    history: Vec<String>,
    world: World,
}

impl Round {
    fn enter(&mut self, number: usize, at: Duration, what: &dyn fmt::Display) {
        self.history.push(entry(number, at, what));
    }

    fn keeps<T>(&self, outcome: Result<T, String>) -> Result<T, Broken> {
        outcome.map_err(|why| self.broken(why))
    }

    fn broken(&self, why: String) -> Broken {
        Broken {
            seed: self.seed,
            first: self.first,
            kinds: self.kinds.clone(),
            history: self.history.clone(),
            why,
            account: self.world.account(),
        }
    }
}

fn entry(number: usize, at: Duration, what: &dyn fmt::Display) -> String {
    let at = at.as_secs_f64();
    match number {
        0 => format!("     {at:8.1} s  {what}"),
        _ => format!("{number:4} {at:8.1} s  {what}"),
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { then, took, .. } = self;
        let entry = entry(self.number, self.at, &self.what);
        write!(f, "{entry:<72} {then} after {:.2} s", took.as_secs_f64())?;
        for note in &self.notes {
            write!(f, "\n                 note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (faults, rounds, notes) = (self.faults, self.rounds, self.notes);
        write!(
            f,
            "all promises kept: {faults} faults in {rounds} rounds; agreed after {:.2} s at the \
             latest, nothing left after any round; {notes} notes; the machine stood still for \
             {:.2} s at the longest",
            self.slowest.as_secs_f64(),
            self.stalled.as_secs_f64()
        )?;
        if let (Some(first), Some(last)) = (self.resident.first(), self.resident.last()) {
            let mib = |bytes: &u64| bytes / (1024 * 1024);
            write!(f, "; memory {} MiB, then {} MiB", mib(first), mib(last))?;
        }
        Ok(())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks a promise:\n  {}", self.seed, self.why)?;
        if !self.history.is_empty() {
            writeln!(
                f,
                "\nthe faults since everything began anew, the last is the one:"
            )?;
        }
        for line in &self.history {
            writeln!(f, "  {line}")?;
        }
        if !self.account.is_empty() {
            writeln!(f, "\nwhat happened, counted from when that fault began:")?;
        }
        for line in &self.account {
            writeln!(f, "  {line}")?;
        }
        let (seed, first) = (self.seed, self.first);
        write!(f, "\nagain: ./run soak --seed {seed} --from {first}")?;
        match &self.kinds[..] {
            [] => Ok(()),
            kinds => write!(f, " --only {}", kinds.join(",")),
        }
    }
}

impl std::error::Error for Broken {}
