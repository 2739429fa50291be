//! Soaks the toolkit in faults for as long as it is told to; see `sd_tests::soak`.

use futures::FutureExt;
use sd_tests::soak::{Broken, Soak, soak};
use std::{
    error::Error, panic::AssertUnwindSafe, path::PathBuf, process::ExitCode, time::Duration,
};

const USAGE: &str = "usage: soak [--minutes M] [--seed N] [--etcd BIN]

  --minutes M  for how long; 10 unless given
  --seed N     which faults; drawn and printed unless given
  --etcd BIN   which etcd; ETCD_BIN or the one on the PATH unless given";

struct Options {
    seed: u64,
    lasting: Duration,
    etcd: Option<PathBuf>,
}

fn options() -> Result<Option<Options>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut options = Options {
        seed: u64::from(fastrand::u32(..)),
        lasting: Duration::from_secs(600),
        etcd: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("minutes") => {
                let minutes: f64 = parser.value()?.parse()?;
                options.lasting = Duration::try_from_secs_f64(60.0 * minutes)?;
            }
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("etcd") => options.etcd = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(options))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("soak: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}, for {:?}", options.seed, options.lasting);
    let mut task = Soak::new(options.seed, options.lasting);
    if let Some(etcd) = options.etcd {
        task = task.etcd(etcd);
    }
    // A panic is a find too, and is to be told with its seed.
    let run = soak(task, |line| println!("{line}"));
    let outcome = AssertUnwindSafe(run).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| {
        Err(Broken {
            seed: options.seed,
            history: Vec::new(),
            why: "a panic in what followed the last line above".to_owned(),
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
