//! Time and allocations of picks.

mod candidate;
mod candidates;
mod floors;
#[cfg(feature = "peers")]
mod peers;

pub(crate) use candidate::{Candidate, Kind, Source, endpoint, source};
pub(crate) use candidates::candidates;

use crate::{
    measure::{Measured, Options},
    output::Output,
    rounds::{Times, Work},
    table::{Cell, Table},
};
use candidates::REFERENCE;
use std::{num::NonZeroUsize, thread};

/// How many endpoints there are.
pub(crate) const SIZES: [usize; 2] = [10, 1000];
const THREADS: [usize; 2] = [1, 2];

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    for threads in THREADS {
        if threads > processors {
            eprintln!("picks of {threads} threads need {threads} processors");
            continue;
        }
        for endpoints in SIZES {
            output.table(&measure(endpoints, threads, options.rounds, output))?;
        }
    }
    Ok(())
}

fn measure(endpoints: usize, threads: usize, rounds: usize, output: &Output) -> Table {
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
    let progress = |round| output.progress(&what, round, rounds);
    let times = Times::measure(all, rounds, progress);
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
        ("allocations", "allocations"),
    ];
    let mut table = Table::new(title, columns)
        .with("endpoints", endpoints)
        .with("threads", threads)
        .with("rounds", rounds);
    let position = |wanted: &dyn Fn(&Candidate) -> bool| candidates.iter().position(wanted);
    let reference = position(&|candidate| candidate.name == REFERENCE);
    for (n, candidate) in candidates.iter().enumerate() {
        let floor = candidate
            .kind
            .floor()
            .and_then(|floor| position(&|candidate| candidate.kind == Kind::Floor(floor)));
        let ratio = floor.map(|floor| times.ratio(n, floor));
        let of_reference = reference.map(|reference| times.ratio(n, reference).value);
        table.row([
            Cell::Text(candidate.name.to_owned()),
            Cell::Number(times.nanos(n).value, 1),
            Cell::number(floor.map(|floor| times.nanos(floor).value), 1),
            Cell::number(ratio.map(|ratio| ratio.value), 2),
            Cell::number(ratio.map(|ratio| ratio.spread), 2),
            Cell::number(of_reference, 2),
            Cell::Number(allocations(&mut picks[n]()), 2),
        ]);
    }
    table
}

/// How many allocations a pick makes, once warm.
fn allocations(picker: &mut Work) -> f64 {
    const PICKS: u64 = 1000;
    picker(PICKS);
    allocation_counter::measure(|| picker(PICKS)).count_total as f64 / PICKS as f64
}
