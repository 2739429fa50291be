//! Runs the soak test for a given time; see `sd_tests::soak`.

use futures::FutureExt;
use lexopt::ValueExt;
use sd_tests::{
    cli,
    soak::{Broken, Fault, Soak, soak},
};
use std::{panic::AssertUnwindSafe, path::PathBuf, process::ExitCode, time::Duration};

const USAGE: &str = "usage: soak [--minutes M] [--seed N] [--from F] [--only KINDS] [--etcd BIN]

  --minutes M   for how long; 10 unless given
  --seed N      which faults; drawn and printed unless given
  --from F      begins with the Fth fault of the seed, counted from 1
  --only KINDS  only these, separated by commas: freeze, kill, rebuild, compact, expire, delete,
                overwrite, cut, join, leave, crash, restart, overtake, update, reload, restore,
                expire-all, cut-all, stalls
  --etcd BIN    which etcd; ETCD_BIN or the one on the PATH unless given

Each line is one fault, and how long it took after it until the views of all consumers, etcd's keys
and leases and the providers that live agreed. The first promise that is broken ends it, with what
everybody did at that time and how to run it again. Exits with 0 if all were kept, else with 1.";

struct Options {
    seed: u64,
    lasting: Duration,
    etcd: Option<PathBuf>,
    first: usize,
    kinds: Vec<String>,
}

impl Options {
    fn parse() -> Result<Self, ExitCode> {
        let options = Self {
            seed: u64::from(fastrand::u32(..)),
            lasting: Duration::from_secs(600),
            etcd: None,
            first: 1,
            kinds: Vec::new(),
        };
        cli::parse(USAGE, options, |options, name, parser| {
            match name {
                "minutes" => {
                    let minutes: f64 = parser.value()?.parse()?;
                    options.lasting = Duration::try_from_secs_f64(60.0 * minutes)?;
                }
                "seed" => options.seed = parser.value()?.parse()?,
                "from" => options.first = parser.value()?.parse()?,
                "only" => {
                    let kinds = parser.value()?.string()?;
                    options.kinds = kinds.split(',').map(str::to_owned).collect();
                    let is_none = |kind: &&String| !Fault::KINDS.contains(&kind.as_str());
                    if let Some(kind) = options.kinds.iter().find(is_none) {
                        return Err(format!("there is no fault called {kind:?}").into());
                    }
                }
                "etcd" => options.etcd = Some(parser.value()?.into()),
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    let minutes = options.lasting.as_secs_f64() / 60.0;
    println!("seed {}, for {minutes} minutes", options.seed);
    let mut task = Soak::new(options.seed, options.lasting)
        .from(options.first)
        .only(options.kinds.clone());
    if let Some(etcd) = options.etcd {
        task = task.etcd(etcd);
    }
    // A panic is a finding too, and is reported with its seed.
    let run = soak(task, |line| println!("{line}"));
    let outcome = AssertUnwindSafe(run).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| {
        Err(Broken {
            seed: options.seed,
            first: options.first,
            kinds: options.kinds,
            history: Vec::new(),
            why: "a panic in what followed the last line above".to_owned(),
            account: Vec::new(),
        })
    });
    match outcome {
        Ok(summary) => {
            println!("seed {}: {summary}", options.seed);
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("{broken}");
            ExitCode::FAILURE
        }
    }
}
