//! Time to build tables.

use crate::{
    comparison::{Comparison, Target},
    measure::{Measured, Options},
    output::Output,
    picks::{Candidate, Kind, Source, candidates, endpoint, source},
    rounds::{Times, Work},
    table::{Cell, Table},
};
use std::sync::Arc;
#[cfg(feature = "peers")]
use {crate::picks::ketama_servers, pingora_ketama::Continuum, std::hint::black_box};

const SIZES: [usize; 3] = [10, 1000, 10_000];
const KETAMA: &str = "pingora Ketama";

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    let mut comparisons = Vec::new();
    for endpoints in SIZES {
        let (table, compared) = measure(endpoints, options.rounds, output);
        output.table(&table)?;
        comparisons.extend(compared);
    }
    output.compare(&comparisons)?;
    Ok(())
}

fn measure(endpoints: usize, rounds: usize, output: &Output) -> (Table, Option<Comparison>) {
    let mut candidates = candidates();
    candidates.retain(|candidate| matches!(candidate.kind, Kind::Toolkit(_)));
    let mut work = vec![replacing(source(endpoints), endpoints, ())];
    work.extend(
        candidates
            .iter()
            .map(|candidate| with_index(candidate, endpoints)),
    );
    let mut names = vec!["the table alone"];
    names.extend(candidates.iter().map(|candidate| candidate.name));
    #[cfg(feature = "peers")]
    {
        work.push(ketama(endpoints));
        names.push(KETAMA);
    }
    let what = format!("{endpoints} endpoints");
    let progress = |round| output.progress(&what, round, rounds);
    let times = Times::measure(vec![work], rounds, progress);
    let title = format!(
        "builds: {what} (processor time to replace a table, with what a balancer derives from it, \
         median of {rounds} rounds)"
    );
    let columns = [
        ("balancer", "balancer"),
        ("µs", "build_us"),
        ("±", "build_us_spread"),
        ("of the table", "of_table"),
    ];
    let mut table = Table::new(title, columns)
        .with("endpoints", endpoints)
        .with("rounds", rounds);
    let millis_of = |name| {
        let n = names.iter().position(|it| *it == name)?;
        Some(times.nanos(n).value / 1e6)
    };
    let compared = millis_of("ConsistentHash").filter(|_| endpoints == 1000);
    let compared = compared.map(|millis| {
        let what = "building ConsistentHash, 1,000 endpoints, beside pingora's Ketama";
        let compared = Comparison::new(what, "ms", millis, Target::AtMost(1.0));
        match millis_of(KETAMA) {
            Some(ketama) => compared.beside(ketama),
            None => compared,
        }
    });
    for (n, name) in names.iter().enumerate() {
        let nanos = times.nanos(n);
        table.row([
            Cell::Text((*name).to_owned()),
            Cell::Number(nanos.value / 1000.0, 1),
            Cell::Number(nanos.spread / 1000.0, 1),
            Cell::Number(times.ratio(n, 0).value, 2),
        ]);
    }
    (table, compared)
}

/// Builds a ring of so many servers.
#[cfg(feature = "peers")]
fn ketama(servers: usize) -> Work {
    let servers = ketama_servers(servers);
    Box::new(move |times| {
        for _ in 0..times {
            black_box(Continuum::new(black_box(&servers)));
        }
    })
}

fn with_index(candidate: &Candidate, endpoints: usize) -> Work {
    let source = source(endpoints);
    // The index is built for as long as the balancer exists.
    let picks = (candidate.prepare)(source.clone());
    replacing(source, endpoints, picks())
}

/// Replaces the table of `source` again and again, while `balancer` exists.
fn replacing(source: Source, endpoints: usize, balancer: impl Send + 'static) -> Work {
    // Two tables in turn, since nothing is built for a table that did not change.
    let tables = [(); 2].map(|()| {
        (0..endpoints)
            .map(endpoint)
            .map(Arc::new)
            .collect::<Vec<_>>()
    });
    let mut count = 0;
    Box::new(move |times| {
        let _alive = &balancer;
        for _ in 0..times {
            count += 1;
            source.set_shared(tables[count % tables.len()].iter().cloned());
        }
    })
}
