//! The command line.

use crate::{commands, settings::ConnectionArgs};
use clap::{Parser, Subcommand};

/// See, edit, run, call, check, copy and measure services in etcd.
///
/// Where etcd is, in which format its services are, and as whom to come are the same for all commands: a flag, else
/// an environment variable (SDCTL_...), else the profile of the configuration file, else the default.
#[derive(Debug, Parser)]
#[command(name = "sdctl", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(commands::list::Args),
    Get(commands::get::Args),
    Watch(commands::watch::Args),
    Drain(commands::edit::DrainArgs),
    Undrain(commands::edit::UndrainArgs),
    Weight(commands::edit::WeightArgs),
    Set(commands::edit::SetArgs),
    Deregister(commands::deregister::Args),
    Register(commands::run::RegisterArgs),
    Run(commands::run::RunArgs),
    Resolve(commands::resolve::Args),
    Call(commands::call::Args),
    Doctor(commands::doctor::Args),
    Copy(commands::copy::Args),
    BenchFleet(commands::bench_fleet::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
