//! `sdctl completions`: what a shell completes.

use crate::{args::Cli, failure::Outcome};
use clap::CommandFactory;
use clap_complete::Shell;
use std::{io, process::ExitCode};

/// Print completions for a shell: `sdctl completions bash > /etc/bash_completion.d/sdctl`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    shell: Shell,
}

pub(crate) fn run(args: Args) -> Outcome {
    clap_complete::generate(args.shell, &mut Cli::command(), "sdctl", &mut io::stdout());
    Ok(ExitCode::SUCCESS)
}
