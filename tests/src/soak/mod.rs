//! A soak: providers and consumers on a real etcd, for as long as it is told to, while one fault
//! after the other comes over them.
//!
//! A test of one fault begins where all is well. What goes wrong in production begins in whatever
//! the faults before have left: a lease that was re-granted, a connection made anew, a history that
//! is not the one it was. So here they follow each other, drawn from a seed, and after each the
//! views of all consumers, etcd's keys and leases and the list of living providers must agree
//! within [`DEADLINE`]. In between, no consumer may miss an instance that the fault did not touch,
//! nor see one again that was gone. Now and then everything stops, and nothing may remain: no key,
//! lease, watch or connection at etcd; no task, and no more memory than the time before.
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
mod world;

pub use plan::{Cut, Fault, Plan, Who};

use crate::Etcd;
use checks::{Agreement, Ground, resident};
use std::{fmt, path::PathBuf, time::Duration};
use tokio::time::Instant;
use world::World;

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
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Line {
    /// Since the start.
    pub at: Duration,
    /// What.
    pub what: String,
    /// What was waited for then: that all agree, or that nothing is left.
    pub then: &'static str,
    /// How long that took.
    pub took: Duration,
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
    /// The resident memory after each round, in bytes; empty where the system does not say.
    pub resident: Vec<u64>,
}

/// A promise was broken.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The seed that did it.
    pub seed: u64,
    /// Everything up to there; the last is what was being done.
    pub history: Vec<String>,
    /// Which promise.
    pub why: String,
}

impl Soak {
    /// The faults of `seed` for so long, on the etcd that [`Etcd::start`] takes.
    pub fn new(seed: u64, lasting: Duration) -> Self {
        Self {
            seed,
            lasting,
            etcd: None,
        }
    }

    /// On another etcd.
    pub fn etcd(mut self, binary: impl Into<PathBuf>) -> Self {
        self.etcd = Some(binary.into());
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
    let mut ground = Ground::new(setup.start().await).await;
    let mut plan = Plan::draw(soak.seed);
    let mut summary = Summary::default();
    let mut history = Vec::new();
    let start = Instant::now();
    let broken = |history: &[String], why| Broken {
        seed: soak.seed,
        history: history.to_vec(),
        why,
    };
    while start.elapsed() < soak.lasting {
        let mut world = World::start(ground.etcd(), plan.living()).await;
        let agreed = world.agree().await;
        agreed.map_err(|why| broken(&history, format!("at the start of a round: {why}")))?;
        for _ in 0..ROUND {
            if start.elapsed() >= soak.lasting {
                break;
            }
            let Some(fault) = plan.next() else { break };
            let at = start.elapsed();
            history.push(format!("{:8.1} s  {fault}", at.as_secs_f64()));
            let suffered = world.suffer(fault).await;
            suffered.map_err(|why| broken(&history, why))?;
            let agreed = world.agree().await;
            let Agreement { took } = agreed.map_err(|why| broken(&history, why))?;
            let what = fault.to_string();
            let then = "all agree";
            tell(&Line {
                at,
                what,
                then,
                took,
            });
            summary.faults += 1;
            summary.slowest = summary.slowest.max(took);
        }
        let at = start.elapsed();
        history.push(format!("{:8.1} s  everything stops", at.as_secs_f64()));
        world.stop().await.map_err(|why| broken(&history, why))?;
        let took = ground
            .is_clean()
            .await
            .map_err(|why| broken(&history, why))?;
        summary.rounds += 1;
        summary.resident.extend(resident());
        let (what, then) = ("everything stops".to_owned(), "nothing is left");
        tell(&Line {
            at,
            what,
            then,
            took,
        });
    }
    Ok(summary)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, took) = (self.at.as_secs_f64(), self.took.as_secs_f64());
        let Self { what, then, .. } = self;
        write!(f, "{at:8.1} s  {what:<56} {then} after {took:.2} s")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} faults in {} rounds; agreed after {:.2} s at the latest, nothing left after any round",
            self.faults,
            self.rounds,
            self.slowest.as_secs_f64()
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
        writeln!(f, "seed {} breaks a promise:", self.seed)?;
        for line in &self.history {
            writeln!(f, "  {line}")?;
        }
        write!(f, "{}", self.why)
    }
}

impl std::error::Error for Broken {}
