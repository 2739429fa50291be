//! Kills providers while they are called; see `sd_tests::kills`.

use lexopt::ValueExt;
use sd_tests::{
    Etcd, cli,
    kills::{Kills, PROVIDE, provide},
};
use std::{env, path::PathBuf, process::ExitCode, time::Duration};

const USAGE: &str = "usage: kills [--seconds N] [--rate N] [--etcd BIN]

  --seconds N  for how long; 60 unless given
  --rate N     calls a second through our channel, and as many through tonic's; 1000 unless given
  --etcd BIN   which etcd; ETCD_BIN or the one on the PATH unless given

Ten providers are processes of their own. One is killed every two seconds, and started again on the
same port a second later. Prints what became of the calls, those of tonic's balanced channel beside
them. Exits with 1 if our channel has broken a promise.";

struct Options {
    lasting: Duration,
    rate: u32,
    etcd: Option<PathBuf>,
}

impl Options {
    fn parse() -> Result<Self, ExitCode> {
        let options = Self {
            lasting: Duration::from_secs(60),
            rate: 1000,
            etcd: None,
        };
        cli::parse(USAGE, options, |options, name, parser| {
            match name {
                "seconds" => options.lasting = Duration::from_secs(parser.value()?.parse()?),
                "rate" => options.rate = parser.value()?.parse()?,
                "etcd" => options.etcd = Some(parser.value()?.into()),
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == PROVIDE) {
        let Err(error) = provide(arguments).await else {
            return ExitCode::SUCCESS;
        };
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let options = match Options::parse() {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    let mut setup = Etcd::setup();
    if let Some(binary) = options.etcd {
        setup = setup.binary(binary);
    }
    let etcd = setup.start().await;
    let program = env::current_exe().expect("this program is a file");
    let kills = Kills::new(program)
        .lasting(options.lasting)
        .rate(options.rate);
    let summary = kills.run(&etcd).await;
    println!("{summary}");
    match &*summary.broken() {
        [] => ExitCode::SUCCESS,
        broken => {
            println!("\nbroken: {}", broken.join(", "));
            ExitCode::FAILURE
        }
    }
}
