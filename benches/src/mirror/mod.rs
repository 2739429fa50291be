//! What it takes to know a fleet: memory and first list of 100,000 instances, and idle instancers of 1,000
//! prefixes, on a real etcd.
//!
//! Each contender runs in a process of its own, so that memory is that of the contender alone. The floor is
//! what etcd's client itself reads: the same pages, kept as they come.

mod contender;
mod fleet;
mod process;

pub use contender::run_contender;

use crate::{
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    statistics::{Median, quantile},
    table::{Cell, Table},
};
use contender::{Contender, Figures};
use fleet::Fleet;

/// How many instances there are.
const INSTANCES: usize = 100_000;
/// How many prefixes are followed at once.
const PREFIXES: usize = 1_000;

/// The memory of a process that knows all instances.
pub(crate) fn memory(_: &Options, output: &Output) -> Measured {
    let fleet = Fleet::start(INSTANCES)?;
    let entries = fleet.bytes();
    let title = format!("memory: {INSTANCES} instances, keys and values of {entries} bytes");
    let columns = [
        ("contender", "contender"),
        ("MB", "mb"),
        ("of the entries", "of_entries"),
        ("MB at the peak", "peak_mb"),
        ("MB of heap", "heap_mb"),
        ("heap of the entries", "heap_of_entries"),
        ("allocations each", "allocations_each"),
    ];
    let mut table = Table::new(title, columns).with("instances", INSTANCES);
    let megabytes = |bytes: f64| Cell::Number(bytes / 1e6, 1);
    let mut comparisons = Vec::new();
    for (contender, target) in [
        (Contender::RawMemory, None),
        (Contender::InstancerMemory, Some(3.0)),
        (Contender::EndpointerMemory, Some(4.0)),
    ] {
        let figures = contender.run(&fleet.endpoint(), INSTANCES)?;
        table.row([
            Cell::Text(contender.name().into()),
            megabytes(figures.resident),
            Cell::Number(figures.resident / entries as f64, 2),
            megabytes(figures.peak),
            megabytes(figures.heap),
            Cell::Number(figures.heap / entries as f64, 2),
            Cell::Number(figures.allocations / INSTANCES as f64, 2),
        ]);
        comparisons.extend(target.map(|times| {
            let what = format!("memory of {INSTANCES} instances, {}", contender.name());
            let target = Target::OfFloor(times);
            Comparison::new(what, "MB", figures.resident / 1e6, target).beside(entries as f64 / 1e6)
        }));
    }
    output.table(&table)?;
    output.compare(&comparisons)?;
    Ok(())
}

/// Time and processor time of the first list.
pub(crate) fn first_list(options: &Options, output: &Output) -> Measured {
    let fleet = Fleet::start(INSTANCES)?;
    let title = format!("first list: {INSTANCES} instances until ready, beside the raw pages");
    let columns = [
        ("contender", "contender"),
        ("CPU ms", "cpu_ms"),
        ("of raw", "cpu_of_raw"),
        ("ms", "ms"),
        ("of raw", "of_raw"),
    ];
    let mut table = Table::new(title, columns).with("instances", INSTANCES);
    let contenders = [Contender::RawList, Contender::InstancerList];
    let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); contenders.len()];
    let of = options.rounds.min(9);
    for round in 0..of {
        output.progress("lists", round, of);
        for n in 0..contenders.len() {
            // Each is first in turn.
            let turn = (round + n) % contenders.len();
            rounds[turn].push(contenders[turn].run(&fleet.endpoint(), INSTANCES)?);
        }
    }
    let of_raw = |rounds: &[Figures], raw: &[Figures], value: fn(&Figures) -> f64| {
        let mut ratios: Vec<_> = (rounds.iter().zip(raw))
            .map(|(one, raw)| value(one) / value(raw))
            .collect();
        Cell::Number(quantile(&mut ratios, 0.5), 2)
    };
    let median = |rounds: &[Figures], value: fn(&Figures) -> f64| {
        Cell::Number(Median::of(rounds.iter().map(value)).value * 1e3, 1)
    };
    let comparison = |what: &str, value: fn(&Figures) -> f64, most| {
        let [raw, ours] =
            [0, 1].map(|n: usize| Median::of(rounds[n].iter().map(value)).value * 1e3);
        Comparison::new(what, "ms", ours, Target::OfFloor(most)).beside(raw)
    };
    let comparisons = [
        comparison("first list of 100,000 until ready", |it| it.time, 1.3),
        comparison("CPU of the first list of 100,000", |it| it.cpu, 1.5),
    ];
    for (contender, figures) in contenders.iter().zip(&rounds) {
        table.row([
            Cell::Text(contender.name().into()),
            median(figures, |it| it.cpu),
            of_raw(figures, &rounds[0], |it| it.cpu),
            median(figures, |it| it.time),
            of_raw(figures, &rounds[0], |it| it.time),
        ]);
    }
    output.table(&table)?;
    output.compare(&comparisons)?;
    Ok(())
}

/// Memory and processor time of instancers while nothing happens.
pub(crate) fn idle(_: &Options, output: &Output) -> Measured {
    let fleet = Fleet::start(0)?;
    let title = format!("idle: {PREFIXES} instancers on different prefixes");
    let columns = [
        ("contender", "contender"),
        ("KB each", "kb_each"),
        ("KB of heap each", "heap_kb_each"),
        ("CPU ms a second", "cpu_ms_a_second"),
    ];
    let mut table = Table::new(title, columns).with("prefixes", PREFIXES);
    let mut comparisons = Vec::new();
    for contender in [Contender::IdleClient, Contender::IdleInstancers] {
        let figures = contender.run(&fleet.endpoint(), PREFIXES)?;
        let each = |bytes: f64| Cell::Number(bytes / PREFIXES as f64 / 1e3, 1);
        table.row([
            Cell::Text(contender.name().into()),
            each(figures.resident),
            each(figures.heap),
            Cell::Number(figures.cpu / figures.time * 1e3, 2),
        ]);
        if contender == Contender::IdleInstancers {
            let kilobytes = figures.resident / PREFIXES as f64 / 1e3;
            let cpu = figures.cpu / figures.time * 1e3;
            comparisons = vec![
                Comparison::new("an idle instancer", "KB", kilobytes, Target::AtMost(20.0)),
                Comparison::new(
                    "CPU of 1,000 idle instancers, a second",
                    "ms",
                    cpu,
                    Target::AtMost(2.0),
                ),
            ];
        }
    }
    output.table(&table)?;
    output.compare(&comparisons)?;
    Ok(())
}
