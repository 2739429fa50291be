//! Processor time of a change, from the watch to what subscribers and balancers read.
//!
//! A registry that is fed by hand says what etcd would: a thousand changes a second, one in each batch. All
//! that follows runs on one thread, whose processor time is divided by the number of changes. The floor
//! reads the same watch, and updates a persistent map.

mod fed;
mod follower;

use crate::{
    clock::thread_time,
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    statistics::Median,
    table::{Cell, Table},
};
use fed::{FedRegistry, Feed};
use follower::{FOLLOWERS, Following};
use std::{error::Error, time::Duration};
use tokio::{
    runtime,
    time::{MissedTickBehavior, interval},
};

/// How many instances there are.
const SIZES: [usize; 4] = [10, 1000, 10_000, 100_000];
const PACE: Duration = Duration::from_millis(1);
/// How many changes are one round.
const CHANGES: usize = 50;

/// What the changes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One instance after the other gets another weight.
    Weights,
    /// One instance after the other goes, and comes back.
    Restarts,
}

/// What a change costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// The microseconds of processor time.
    pub(crate) micros: Median,
    /// How many tables were built for a change, if there are tables.
    pub(crate) tables: Option<f64>,
}

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    let mut comparisons = Vec::new();
    for kind in [Kind::Weights, Kind::Restarts] {
        let (table, compared) = measure(kind, options.rounds, output)?;
        output.table(&table)?;
        comparisons.extend(compared);
    }
    output.compare(&comparisons)?;
    Ok(())
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Weights => "other weights",
            Kind::Restarts => "instances that go and come back",
        }
    }
}

/// How many times as much as at 10 instances a change of 100,000 may cost. What else follows builds its tables apart.
const GROWTH: [(&str, f64); 2] = [("instancer, a subscriber", 5.0), ("endpointer", 2.0)];

fn measure(
    kind: Kind,
    rounds: usize,
    output: &Output,
) -> Result<(Table, Vec<Comparison>), Box<dyn Error>> {
    let what = kind.name();
    let mut comparisons = Vec::new();
    let title = format!(
        "changes: {what}, 1,000 a second (processor time of one, in microseconds, by the number of instances; \
         median of {rounds} rounds of {CHANGES})"
    );
    let columns = [
        ("what follows", "follower"),
        ("10", "cpu_us_10"),
        ("1,000", "cpu_us_1000"),
        ("10,000", "cpu_us_10000"),
        ("100,000", "cpu_us_100000"),
        ("±", "cpu_us_100000_spread"),
        ("of 10", "growth"),
        ("tables for a change", "tables"),
    ];
    let mut table = Table::new(title, columns)
        .with("changes", what)
        .with("rounds", rounds);
    for (n, follower) in followers().enumerate() {
        let mut costs = Vec::new();
        for size in SIZES {
            output.progress(
                &format!("{what}, {follower}, {size} instances"),
                n,
                followers().count(),
            );
            costs.push(cost(kind, follower, size, rounds)?);
        }
        let (first, last) = (costs[0], costs[costs.len() - 1]);
        if let Some((_, most)) = GROWTH.iter().find(|(name, _)| *name == follower) {
            let what = format!("CPU of a change at 100,000 beside 10: {what}, {follower}");
            let comparison = Comparison::new(what, "µs", last.micros.value, Target::OfFloor(*most));
            comparisons.push(comparison.beside(first.micros.value));
        }
        let mut cells = vec![Cell::Text(follower.to_owned())];
        cells.extend(costs.iter().map(|cost| Cell::Number(cost.micros.value, 1)));
        cells.push(Cell::Number(last.micros.spread, 1));
        cells.push(Cell::Number(last.micros.value / first.micros.value, 2));
        cells.push(Cell::number(last.tables, 3));
        table.row(cells);
    }
    Ok((table, comparisons))
}

/// What can follow the changes.
pub(crate) fn followers() -> impl Iterator<Item = &'static str> {
    FOLLOWERS.iter().map(|(name, _)| *name)
}

/// What a change of so many instances costs for one of the [`followers`].
pub(crate) fn cost(
    kind: Kind,
    follower: &str,
    instances: usize,
    rounds: usize,
) -> Result<Cost, Box<dyn Error>> {
    let mut all = FOLLOWERS.iter();
    let (_, follow) = all
        .find(|(name, _)| *name == follower)
        .ok_or("no such follower")?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async {
        let (feed, registry) = FedRegistry::new(kind, instances);
        let following = follow(registry).await;
        changes(feed, &following, rounds).await
    }))
}

/// Makes changes, and measures what they cost.
async fn changes(mut feed: Feed, following: &Following, rounds: usize) -> Cost {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut times = Vec::with_capacity(rounds);
    let mut before = None;
    // The first round finds cold caches.
    for round in 0..=rounds {
        let began = thread_time();
        for _ in 0..CHANGES {
            ticks.tick().await;
            feed.change();
        }
        let took = thread_time() - began;
        if round == 0 {
            before = following.tables();
        } else {
            times.push(took.as_secs_f64() * 1e6 / CHANGES as f64);
        }
    }
    let tables = following.tables().zip(before);
    Cost {
        micros: Median::of(times),
        tables: tables.map(|(after, before)| (after - before) as f64 / (rounds * CHANGES) as f64),
    }
}
