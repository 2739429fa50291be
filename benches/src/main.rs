//! Runs the measures; see `sd_benches`.

use lexopt::{Arg, Parser, ValueExt};
use sd_benches::{
    Format, Kind, MEASURES, Measure, Measured, Options, Output, contend, measure, mirror, proxy,
    report, run_counted, serve,
};
use std::{
    env,
    error::Error,
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    process::{self, ExitCode},
};

const USAGE: &str = "usage: bench [MEASURE...] [--quick] [--json] [--write DIRECTORY] [--rounds N] [--seed N]

  MEASURE      one of those below; all of them unless given
  --quick      less of everything, for a first look in two minutes; without the instructions, unless
               they are asked for
  --json       print a line of JSON for each result
  --write DIR  also write the results into DIR/performance.md, and plots beside it
  --rounds N   rounds of the measures of time; 25 unless given, 5 with --quick
  --seed N     the seed of the simulation; 1 unless given
  --check      instructions: compare with those recorded, within 3 %, and fail if there are more or fewer
  --record     instructions: record them in benches/instructions.json
";

/// What the command line asks for.
enum Asked {
    Measures(Command),
    /// The part of a measure that has a process of its own. It is done.
    Part(Measured),
    Help,
}

struct Command {
    measures: Vec<Measure>,
    format: Format,
    options: Options,
    /// Where the report goes.
    write: Option<PathBuf>,
    /// Where the results go as JSON, besides stdout.
    results: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match parse(Parser::from_env()) {
        Ok(Asked::Measures(command)) => match &command.measures[..] {
            [measure] if command.write.is_none() => run(measure, &command),
            several => run_each(several, &command),
        },
        Ok(Asked::Part(done)) => done,
        Ok(Asked::Help) => {
            println!("{}", usage());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n{}", usage());
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(measure: &Measure, command: &Command) -> Measured {
    let record = command
        .results
        .as_ref()
        .map(|path| OpenOptions::new().append(true).open(path));
    let output = Output::new(measure.name, command.format, record.transpose()?);
    let done = (measure.run)(&command.options, &output);
    done.map_err(|error| format!("{}: {error}", measure.name).into())
}

/// Runs each measure in a process of its own: none finds what another one has left behind, such as
/// a paused clock or a heap in pieces. Then prints what all of them are to reach.
fn run_each(measures: &[Measure], command: &Command) -> Measured {
    let program = env::current_exe()?;
    let results = tempfile::NamedTempFile::new()?;
    let mut failed = Vec::new();
    for measure in measures {
        let mut process = process::Command::new(&program);
        process
            .arg(measure.name)
            .arg("--results")
            .arg(results.path())
            .args(["--rounds", &command.options.rounds.to_string()])
            .args(["--seed", &command.options.seed.to_string()]);
        let flags = [
            (command.format == Format::Json, "--json"),
            (command.options.quick, "--quick"),
            (command.options.check, "--check"),
            (command.options.record, "--record"),
        ];
        process.args(flags.iter().filter(|(is, _)| *is).map(|(_, flag)| flag));
        if !process.status()?.success() {
            failed.push(measure.name);
        }
    }
    let results = report::Results::parse(&fs::read_to_string(results.path())?)?;
    if command.format == Format::Text {
        std::io::stdout().write_all(results.summary().text().as_bytes())?;
    }
    if let Some(directory) = &command.write {
        report::write(&results, directory, command.options.quick)?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("could not be measured: {}", failed.join(", ")).into())
}

fn parse(mut parser: Parser) -> Result<Asked, Box<dyn Error>> {
    let mut command = Command {
        measures: Vec::new(),
        format: Format::Text,
        options: Options::default(),
        write: None,
        results: None,
    };
    let mut rounds = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Asked::Help),
            Arg::Long("json") => command.format = Format::Json,
            Arg::Long("quick") => command.options.quick = true,
            Arg::Long("check") => command.options.check = true,
            Arg::Long("record") => command.options.record = true,
            Arg::Long("write") => command.write = Some(parser.value()?.into()),
            Arg::Long("results") => command.results = Some(parser.value()?.into()),
            Arg::Long("rounds") => rounds = Some(parser.value()?.parse()?),
            Arg::Long("seed") => command.options.seed = parser.value()?.parse()?,
            Arg::Value(name) => {
                let name = name.string()?;
                let measure = measure(&name).ok_or_else(|| format!("no measure {name:?}"))?;
                command.measures.push(*measure);
            }
            Arg::Long(name) => {
                let name = name.to_owned();
                return match run_part(&name, &mut parser) {
                    Some(done) => Ok(Asked::Part(done)),
                    None => Err(Arg::Long(&name).unexpected().into()),
                };
            }
            other => return Err(other.unexpected().into()),
        }
    }
    command.options.rounds = rounds.unwrap_or(match command.options.quick {
        true => Options::QUICK_ROUNDS,
        false => Options::ROUNDS,
    });
    if command.options.rounds == 0 {
        return Err("at least one round".into());
    }
    if command.measures.is_empty() {
        let is_slow = |measure: &Measure| measure.name == "instructions";
        let all = MEASURES
            .iter()
            .filter(|it| !(command.options.quick && is_slow(it)));
        command.measures = all.copied().collect();
    }
    Ok(Asked::Measures(command))
}

/// Runs this program as the part of a measure that has a process of its own. `None` if there is none of this
/// name.
fn run_part(name: &str, parser: &mut Parser) -> Option<Measured> {
    let mut value = || Ok::<_, Box<dyn Error>>(parser.value()?.string()?);
    Some(match name {
        // How the measure of instructions starts this program under valgrind.
        "counted" => {
            run_counted();
            Ok(())
        }
        // How the measures of calls start their servers.
        "serve-grpc" => value().and_then(|count| serve(Kind::Grpc, count.parse()?)),
        "serve-http" => value().and_then(|count| serve(Kind::Http, count.parse()?)),
        "proxy" => value().and_then(|server| proxy(&server)),
        // How the measures on an etcd start the toolkit, or its floor.
        "contend" => value().and_then(|name| {
            let arguments = parser.raw_args()?.map(|it| it.string());
            contend(&name, &arguments.collect::<Result<Vec<_>, _>>()?)
        }),
        // How the measures of a mirror start the toolkit, or its floor.
        "mirror" => value().and_then(|name| {
            let endpoint = parser.value()?.string()?;
            mirror(&name, &endpoint, parser.value()?.parse()?)
        }),
        _ => return None,
    })
}

fn usage() -> String {
    let lines = MEASURES
        .iter()
        .map(|measure| format!("\n  {:<13} {}", measure.name, measure.about));
    std::iter::once(USAGE.to_owned()).chain(lines).collect()
}
