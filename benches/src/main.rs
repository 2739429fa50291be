//! Runs the measures; see `sd_benches`.

use lexopt::{Arg, Parser, ValueExt};
use sd_benches::{
    Format, Kind, MEASURES, Measure, Measured, Options, Output, measure, proxy, run_contender,
    run_counted, serve,
};
use std::{
    env,
    error::Error,
    process::{self, ExitCode},
};

const USAGE: &str = "usage: bench [MEASURE...] [--json] [--rounds N] [--seed N]

  MEASURE     one of those below; all of them unless given
  --json      print a line of JSON for each result
  --rounds N  rounds of the measures of time; 25 unless given
  --seed N    the seed of the simulation; 1 unless given
";

struct Command {
    measures: Vec<Measure>,
    format: Format,
    options: Options,
}

fn main() -> ExitCode {
    let command = match parse(Parser::from_env()) {
        Ok(Some(command)) => command,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n{}", usage());
            return ExitCode::from(2);
        }
    };
    let done = match &command.measures[..] {
        [measure] => {
            let output = Output::new(measure.name, command.format);
            let done = (measure.run)(&command.options, &output);
            done.map_err(|error| format!("{}: {error}", measure.name).into())
        }
        several => run_each(several, &command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs each measure in a process of its own: none finds what another one has left behind, such as
/// a paused clock or a heap in pieces.
fn run_each(measures: &[Measure], command: &Command) -> Measured {
    let program = env::current_exe()?;
    let mut failed = Vec::new();
    for measure in measures {
        let mut process = process::Command::new(&program);
        process
            .arg(measure.name)
            .args(["--rounds", &command.options.rounds.to_string()])
            .args(["--seed", &command.options.seed.to_string()]);
        if command.format == Format::Json {
            process.arg("--json");
        }
        if !process.status()?.success() {
            failed.push(measure.name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("could not be measured: {}", failed.join(", ")).into())
}

/// `None` if there is nothing left to do.
fn parse(mut parser: Parser) -> Result<Option<Command>, Box<dyn Error>> {
    let mut command = Command {
        measures: Vec::new(),
        format: Format::Text,
        options: Options::default(),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => {
                println!("{}", usage());
                return Ok(None);
            }
            Arg::Long("json") => command.format = Format::Json,
            Arg::Long("rounds") => command.options.rounds = parser.value()?.parse()?,
            Arg::Long("seed") => command.options.seed = parser.value()?.parse()?,
            // How the measure of instructions starts this program under valgrind.
            Arg::Long("counted") => {
                run_counted();
                return Ok(None);
            }
            // How the measures of calls start their servers.
            Arg::Long("serve-grpc") => {
                serve(Kind::Grpc, parser.value()?.parse()?)?;
                return Ok(None);
            }
            Arg::Long("serve-http") => {
                serve(Kind::Http, parser.value()?.parse()?)?;
                return Ok(None);
            }
            Arg::Long("proxy") => {
                proxy(&parser.value()?.string()?)?;
                return Ok(None);
            }
            // How the measures of a mirror start a contender.
            Arg::Long("mirror") => {
                let [name, endpoint] = [parser.value()?.string()?, parser.value()?.string()?];
                run_contender(&name, &endpoint, parser.value()?.parse()?)?;
                return Ok(None);
            }
            Arg::Value(name) => {
                let name = name.string()?;
                let measure = measure(&name).ok_or_else(|| format!("no measure {name:?}"))?;
                command.measures.push(*measure);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if command.options.rounds == 0 {
        return Err("at least one round".into());
    }
    if command.measures.is_empty() {
        command.measures = MEASURES.to_vec();
    }
    Ok(Some(command))
}

fn usage() -> String {
    let lines = MEASURES
        .iter()
        .map(|measure| format!("\n  {:<13} {}", measure.name, measure.about));
    std::iter::once(USAGE.to_owned()).chain(lines).collect()
}
