//! Runs the measures; see `sd_benches`.

use lexopt::{Arg, Parser, ValueExt};
use sd_benches::{Format, MEASURES, Measure, Options, Output, measure, run_counted};
use std::{error::Error, io, process::ExitCode};

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
    let mut exit = ExitCode::SUCCESS;
    for measure in command.measures {
        let output = Output::new(measure.name, command.format);
        if let Err(error) = (measure.run)(&command.options, &output) {
            eprintln!("{}: {error}", measure.name);
            exit = ExitCode::FAILURE;
            if error.is::<io::Error>() {
                // Nobody reads the results, or they cannot be written.
                break;
            }
        }
    }
    exit
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
