//! Runs any number of simulations; see `sd_tests::simulation`. If a seed breaks a promise, prints
//! the steps that cause it and the history, and exits with 1.

use lexopt::ValueExt;
use sd_tests::{
    cli,
    simulation::{Kind, Plan, shrink, simulate},
};
use std::{
    ops::Range,
    process::ExitCode,
    time::{Duration, Instant},
};

const USAGE: &str = "usage: simulate [--seeds FROM..TO] [--hours H] [--without KINDS] [--history]

  --seeds FROM..TO  the seeds to run, TO not included; 0..1000 unless given
  --hours H         how long each of them lasts, in hours of its own time; 1 unless given
  --without KINDS   none of these, separated by commas: reload, rollback, loss, stalls, panics
  --history         print the whole history of each";

struct Options {
    seeds: Range<u64>,
    horizon: Duration,
    without: Vec<Kind>,
    history: bool,
}

fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    let start = Instant::now();
    let (mut runs, mut lines) = (0_u32, 0);
    for seed in options.seeds {
        let plan = Plan::draw(seed, options.horizon).without(&options.without);
        let history = simulate(&plan);
        runs += 1;
        lines += history.len();
        if options.history {
            println!("{plan}{history:#}");
        }
        if history.violation().is_some() {
            let least = shrink(&plan);
            println!("seed {seed} breaks a promise; what is needed for it:");
            println!("{least}{}", simulate(&least));
            return ExitCode::FAILURE;
        }
    }
    let took = start.elapsed();
    println!(
        "{runs} seeds of {:?} each in {took:.1?}, {:.1?} each; {lines} lines of history",
        options.horizon,
        took / runs.max(1),
    );
    ExitCode::SUCCESS
}

impl Options {
    fn parse() -> Result<Self, ExitCode> {
        let options = Self {
            seeds: 0..1000,
            horizon: Duration::from_secs(3600),
            without: Vec::new(),
            history: false,
        };
        cli::parse(USAGE, options, |options, name, parser| {
            match name {
                "seeds" => {
                    let seeds = parser.value()?.string()?;
                    let (from, to) = seeds.split_once("..").ok_or("seeds are FROM..TO")?;
                    options.seeds = from.parse()?..to.parse()?;
                }
                "hours" => {
                    let hours: f64 = parser.value()?.parse()?;
                    options.horizon = Duration::try_from_secs_f64(3600.0 * hours)?;
                }
                "without" => {
                    for name in parser.value()?.string()?.split(',') {
                        let kind = Kind::ALL.into_iter().find(|(it, _)| *it == name);
                        let (_, kind) = kind.ok_or_else(|| format!("no kind {name:?}"))?;
                        options.without.push(kind);
                    }
                }
                "history" => options.history = true,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}
