//! Time and allocations of picks.

mod candidate;
mod candidates;
mod floors;
mod go_kit;
#[cfg(feature = "peers")]
mod peers;

pub(crate) use candidate::{Candidate, Kind, Source, endpoint, source};
pub(crate) use candidates::candidates;
#[cfg(feature = "peers")]
pub(crate) use peers::ketama_servers;

use crate::{
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    rounds::{Times, Work},
    statistics::Median,
    table::{Cell, Table},
};
use candidates::REFERENCE;
use go_kit::{BALANCERS, GoKit};
use std::{cell::RefCell, error::Error, num::NonZeroUsize, thread};

/// How many endpoints there are.
pub(crate) const SIZES: [usize; 2] = [10, 1000];
const THREADS: [usize; 2] = [1, 2];

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut go_kit = GoKit::start()?;
    let mut comparisons = Vec::new();
    for threads in THREADS {
        if threads > processors {
            eprintln!("picks of {threads} threads need {threads} processors");
            continue;
        }
        for endpoints in SIZES {
            let go_kit = go_kit.as_mut();
            let (table, compared) = measure(endpoints, threads, options.rounds, go_kit, output)?;
            output.table(&table)?;
            comparisons.extend(compared);
        }
    }
    output.compare(&comparisons)?;
    Ok(())
}

/// What balancers are to reach beside their floors, at any size and on any number of threads.
const OF_FLOOR: [(&str, f64); 2] = [("RoundRobin", 1.3), ("Random", 1.3)];
/// How many nanoseconds a pick may take among 1,000 endpoints, on one thread.
const NANOS: [(&str, f64); 3] = [
    ("Weighted", 10.0),
    ("LeastLoaded", 60.0),
    ("ConsistentHash", 100.0),
];

fn measure(
    endpoints: usize,
    threads: usize,
    rounds: usize,
    go_kit: Option<&mut GoKit>,
    output: &Output,
) -> Result<(Table, Vec<Comparison>), Box<dyn Error>> {
    let plural = if threads == 1 { "" } else { "s" };
    let what = format!("{endpoints} endpoints, {threads} thread{plural}");
    let mut candidates = candidates();
    candidates.retain(|candidate| threads == 1 || candidate.kind.is_shared());
    let picks: Vec<_> = candidates
        .iter()
        .map(|candidate| (candidate.prepare)(source(endpoints)))
        .collect();
    let pickers = || picks.iter().map(|picks| picks()).collect();
    let all: Vec<Vec<Work>> = (0..threads).map(|_| pickers()).collect();
    let peer = RefCell::new(Peer::new(go_kit, endpoints, threads));
    let progress = |round| {
        output.progress(&what, round, rounds);
        peer.borrow_mut().round();
    };
    let times = Times::measure(all, rounds, progress);
    let peer = peer.into_inner().rounds?;
    let title = format!(
        "picks: {what} (processor time of a pick and the report of its end, median of {rounds} \
         rounds)"
    );
    let columns = [
        ("balancer", "balancer"),
        ("ns", "pick_ns"),
        ("floor", "floor_ns"),
        ("ratio", "of_floor"),
        ("±", "of_floor_spread"),
        ("of Random", "of_random"),
        ("of go-kit", "of_go_kit"),
        ("allocations", "allocations"),
    ];
    let mut table = Table::new(title, columns)
        .with("endpoints", endpoints)
        .with("threads", threads)
        .with("rounds", rounds);
    let mut comparisons = Vec::new();
    let position = |wanted: &dyn Fn(&Candidate) -> bool| candidates.iter().position(wanted);
    let reference = position(&|candidate| candidate.name == REFERENCE);
    for (n, candidate) in candidates.iter().enumerate() {
        let floor = candidate
            .kind
            .floor()
            .and_then(|floor| position(&|candidate| candidate.kind == Kind::Floor(floor)));
        let ratio = floor.map(|floor| times.ratio(n, floor));
        let of_reference = reference.map(|reference| times.ratio(n, reference).value);
        let nanos = times.nanos(n).value;
        let compared = |what: &str, target| {
            let what = format!(
                "{what}{}, {endpoints} endpoints, {threads} thread{plural}",
                candidate.name
            );
            Comparison::new(what, "ns", nanos, target)
        };
        let of_floor = OF_FLOOR.iter().find(|(name, _)| *name == candidate.name);
        if let Some(((_, most), floor)) = of_floor.zip(floor) {
            let target = Target::OfFloor(*most);
            comparisons.push(compared("", target).beside(times.nanos(floor).value));
        }
        if let Some(of) = of_go_kit(&times, n, candidate.name, &peer) {
            let beside = compared("beside go-kit: ", Target::OfFloor(1.0));
            comparisons.push(beside.beside(nanos / of));
        }
        let most = NANOS.iter().find(|(name, _)| *name == candidate.name);
        if let Some((_, most)) = most.filter(|_| endpoints == 1000 && threads == 1) {
            let compared = compared("", Target::AtMost(*most));
            comparisons.push(match floor {
                Some(floor) => compared.beside(times.nanos(floor).value),
                None => compared,
            });
        }
        table.row([
            Cell::Text(candidate.name.to_owned()),
            Cell::Number(times.nanos(n).value, 1),
            Cell::number(floor.map(|floor| times.nanos(floor).value), 1),
            Cell::number(ratio.map(|ratio| ratio.value), 2),
            Cell::number(ratio.map(|ratio| ratio.spread), 2),
            Cell::number(of_reference, 2),
            Cell::number(of_go_kit(&times, n, candidate.name, &peer), 2),
            Cell::Number(allocations(&mut picks[n]()), 2),
        ]);
    }
    for (balancer, nanos) in BALANCERS
        .iter()
        .zip(&peer)
        .filter(|(_, nanos)| !nanos.is_empty())
    {
        let reference = reference.map(|reference| of(nanos, times.rounds(reference)));
        table.row([
            Cell::Text(format!("go-kit {balancer}")),
            Cell::Number(Median::of(nanos.iter().copied()).value, 1),
            Cell::Empty,
            Cell::Empty,
            Cell::Empty,
            Cell::number(reference, 2),
            Cell::Empty,
            Cell::Empty,
        ]);
    }
    Ok((table, comparisons))
}

/// The balancers of go-kit, which have a turn in each round too.
struct Peer<'a> {
    go_kit: Option<&'a mut GoKit>,
    endpoints: usize,
    threads: usize,
    /// The nanoseconds of a pick in each round, for each balancer.
    rounds: Result<[Vec<f64>; BALANCERS.len()], Box<dyn Error>>,
}

impl<'a> Peer<'a> {
    fn new(go_kit: Option<&'a mut GoKit>, endpoints: usize, threads: usize) -> Self {
        Self {
            go_kit,
            endpoints,
            threads,
            rounds: Ok(Default::default()),
        }
    }

    fn round(&mut self) {
        let (Some(go_kit), Ok(rounds)) = (&mut self.go_kit, &mut self.rounds) else {
            return;
        };
        for (balancer, nanos) in BALANCERS.iter().zip(rounds) {
            match go_kit.pick(balancer, self.endpoints, self.threads) {
                Ok(pick) => nanos.push(pick),
                Err(error) => {
                    self.rounds = Err(error);
                    return;
                }
            }
        }
    }
}

/// How many times as long as go-kit's balancer of the same name a candidate takes.
fn of_go_kit(times: &Times, n: usize, name: &str, peer: &[Vec<f64>]) -> Option<f64> {
    let nanos = &peer[BALANCERS.iter().position(|balancer| *balancer == name)?];
    (!nanos.is_empty()).then(|| of(times.rounds(n), nanos))
}

/// The median of the ratios of each round.
fn of(nanos: &[f64], others: &[f64]) -> f64 {
    Median::of(nanos.iter().zip(others).map(|(one, other)| one / other)).value
}

/// How many allocations a pick makes, once warm.
fn allocations(picker: &mut Work) -> f64 {
    const PICKS: u64 = 1000;
    picker(PICKS);
    allocation_counter::measure(|| picker(PICKS)).count_total as f64 / PICKS as f64
}
