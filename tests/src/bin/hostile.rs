//! Attacks an honest fleet for a given time; see `sd_tests::hostile`.

use lexopt::ValueExt;
use peak_alloc::PeakAlloc;
use sd_tests::{
    Etcd, cli,
    hostile::{Attack, CONSUME, Hostile, PROVIDE, consume, provide},
};
use std::{env, path::PathBuf, process::ExitCode, time::Duration};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const USAGE: &str = "usage: hostile [--minutes M] [--seed N] [--only ROWS] [--etcd BIN]

  --minutes M  for how long; 1 unless given
  --seed N     what the hostile writers draw; drawn and printed unless given
  --only ROWS  only the attacks of these rows of docs/hostile.md, separated by commas: 1,2,3,4,5,6,7,8,9,12
  --etcd BIN   which etcd; ETCD_BIN or the one on the PATH unless given

Registers 1,000 honest instances and follows them, in processes of their own, while 50 writers do all
attacks at once. Prints what was seen throughout. Exits with 1 if a promise was broken.";

struct Options {
    lasting: Duration,
    seed: u64,
    only: Vec<Attack>,
    etcd: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self, ExitCode> {
        let options = Self {
            lasting: Duration::from_secs(60),
            seed: u64::from(fastrand::u32(..)),
            only: Attack::ALL.to_vec(),
            etcd: None,
        };
        cli::parse(USAGE, options, |options, name, parser| {
            match name {
                "minutes" => {
                    let minutes: f64 = parser.value()?.parse()?;
                    options.lasting = Duration::try_from_secs_f64(60.0 * minutes)?;
                }
                "seed" => options.seed = parser.value()?.parse()?,
                "only" => {
                    let rows = parser.value()?.string()?;
                    let rows = rows.split(',').map(str::parse);
                    let rows = rows.collect::<Result<Vec<u32>, _>>()?;
                    options.only.retain(|attack| rows.contains(&attack.row()));
                }
                "etcd" => options.etcd = Some(parser.value()?.into()),
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let memory = || ALLOCATED.peak_usage();
    let outcome = match &*arguments {
        [role, endpoint] if role == CONSUME => consume(endpoint, memory).await,
        [role, endpoint] if role == PROVIDE => provide(endpoint, memory).await,
        _ => return attack().await,
    };
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{error}");
    ExitCode::FAILURE
}

async fn attack() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    println!("seed {}", options.seed);
    // A minute of all attacks writes more than etcd's default quota.
    let mut setup = Etcd::setup().quota(8 << 30);
    if let Some(binary) = options.etcd {
        setup = setup.binary(binary);
    }
    let etcd = setup.start().await;
    let program = env::current_exe().expect("this program is a file");
    let hostile = Hostile::new(program, options.seed)
        .lasting(options.lasting)
        .only(options.only);
    let summary = hostile.run(&etcd).await;
    println!("{summary}");
    match &*summary.broken() {
        [] => ExitCode::SUCCESS,
        broken => {
            println!("\nbroken: {}", broken.join("\n        "));
            ExitCode::FAILURE
        }
    }
}
