//! The commands: one file each.

pub(crate) mod bench_fleet;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod deregister;
pub(crate) mod doctor;
pub(crate) mod edit;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod resolve;
pub(crate) mod run;
mod target;
pub(crate) mod watch;

use crate::{
    args::{Cli, Command},
    failure::Outcome,
    settings::Settings,
};

/// Runs the command that was given.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let settings = || Settings::resolve(&cli.connection);
    match cli.command {
        Command::List(args) => list::run(args, &settings()?).await,
        Command::Get(args) => get::run(args, &settings()?).await,
        Command::Watch(args) => watch::run(args, &settings()?).await,
        Command::Drain(args) => edit::drain(args, &settings()?).await,
        Command::Undrain(args) => edit::undrain(args, &settings()?).await,
        Command::Weight(args) => edit::weight(args, &settings()?).await,
        Command::Set(args) => edit::set(args, &settings()?).await,
        Command::Deregister(args) => deregister::run(args, &settings()?).await,
        Command::Register(args) => run::register(args, &settings()?).await,
        Command::Run(args) => run::run(args, &settings()?).await,
        Command::Resolve(args) => resolve::run(args, &settings()?).await,
        Command::Call(args) => call::run(args, &settings()?).await,
        Command::Doctor(args) => doctor::run(args, &settings()?).await,
        Command::Copy(args) => copy::run(args, &cli.connection, &settings()?).await,
        Command::BenchFleet(args) => bench_fleet::run(args, &settings()?).await,
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}
