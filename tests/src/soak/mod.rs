//! The soak test: providers and consumers on a real etcd, for any length of time, with one fault
//! after the other.
//!
//! A test of one fault begins in a healthy state. In production, a fault begins in the state that
//! earlier faults have left: a lease that was granted again, a new connection, a history that was
//! replaced. So here faults follow each other, drawn from a seed. After each fault, the views of
//! all consumers, etcd's keys and leases and the list of running providers must agree within
//! [`DEADLINE`], with no more watches, streams and connections than they need. During the fault,
//! every consumer must show the instances that it does not affect, and must not show one again that
//! was gone. After some faults everything stops, and nothing may remain: no key, lease, watch or
//! connection at etcd, no task, and no more memory than the last time.
//!
//! On a machine that is too busy, leases expire too. So the test measures how long etcd and this
//! process did not run. If that explains why a provider vanishes for a moment, it is noted, but
//! does not break a promise.
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
//! The same seed gives the same faults in the same order. How many there is time for depends on the
//! machine.

mod baseline;
mod checker;
mod event_log;
mod follower;
mod measure;
mod member;
mod plan;
mod report;
mod stalls;
mod world;

pub use plan::{Cut, DEADLINE, Fault, Plan, Who};
pub use report::{Broken, Line, Summary};

use crate::etcd::Etcd;
use baseline::Baseline;
use measure::resident;
use report::entry;
use std::{fmt, path::PathBuf, time::Duration};
use tokio::time::Instant;
use world::{Agreement, World};

/// After this many faults everything stops and begins again.
const ROUND: usize = 12;

/// The options of a soak.
#[derive(Debug, Clone)]
pub struct Soak {
    seed: u64,
    lasting: Duration,
    etcd: Option<PathBuf>,
    first: usize,
    kinds: Vec<String>,
}

impl Soak {
    /// The faults of `seed`, for the time `lasting`, on the etcd that [`Etcd::start`] uses.
    pub fn new(seed: u64, lasting: Duration) -> Self {
        Self {
            seed,
            lasting,
            etcd: None,
            first: 1,
            kinds: Vec::new(),
        }
    }

    /// Uses another etcd.
    #[must_use]
    pub fn etcd(mut self, binary: impl Into<PathBuf>) -> Self {
        self.etcd = Some(binary.into());
        self
    }

    /// Begins with this fault of the plan, counted from 1.
    #[must_use]
    pub fn from(mut self, first: usize) -> Self {
        self.first = first.max(1);
        self
    }

    /// Causes only faults of these [kinds](Fault::KINDS). The plan is then a different one.
    #[must_use]
    pub fn only(mut self, kinds: impl IntoIterator<Item = String>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }
}

/// Runs the soak. Calls `tell` after each fault.
///
/// # Errors
/// The first broken promise.
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
    let mut baseline = Baseline::new(setup.start().await).await;
    let mut summary = Summary::default();
    let start = Instant::now();
    while start.elapsed() < soak.lasting {
        let mut round = Round {
            seed: soak.seed,
            kinds: soak.kinds.clone(),
            first: number + 1,
            history: Vec::new(),
            world: World::start(baseline.etcd(), plan.living()).await,
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
            let injected = round.world.inject(fault).await;
            round.keeps(injected)?;
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
        let took = baseline.until_clean().await;
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
