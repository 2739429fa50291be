//! Runs simulations, any number of them; see `sd_tests::simulation`.
//!
//! ```text
//! simulate [--seeds FROM..TO] [--hours H] [--history]
//! ```
//!
//! A seed that breaks a promise prints the steps that it takes and its history, and ends the program
//! with 1.

use sd_tests::simulation::{Plan, shrink, simulate};
use std::{
    ops::Range,
    process::ExitCode,
    time::{Duration, Instant},
};

const USAGE: &str = "usage: simulate [--seeds FROM..TO] [--hours H] [--history]

  --seeds FROM..TO  the seeds to run, TO not included; 0..1000 unless given
  --hours H         how long each of them lasts, in hours of its own time; 1 unless given
  --history         print the whole history of each";

struct Options {
    seeds: Range<u64>,
    horizon: Duration,
    history: bool,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    let (mut runs, mut lines) = (0_u32, 0);
    for seed in options.seeds {
        let plan = Plan::draw(seed, options.horizon);
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

fn options() -> Option<Options> {
    let mut options = Options {
        seeds: 0..1000,
        horizon: Duration::from_secs(3600),
        history: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seeds" => {
                let seeds = args.next()?;
                let (from, to) = seeds.split_once("..")?;
                options.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--hours" => {
                let hours: f64 = args.next()?.parse().ok()?;
                options.horizon = Duration::try_from_secs_f64(3600.0 * hours).ok()?;
            }
            "--history" => options.history = true,
            _ => return None,
        }
    }
    Some(options)
}
