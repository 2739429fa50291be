//! The commands: one file each.

pub(crate) mod completions;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod man;
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
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}
