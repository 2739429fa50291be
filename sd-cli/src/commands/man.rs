//! `sdctl man`: the manual pages.

use crate::{
    args::Cli,
    failure::{Failure, Outcome},
};
use clap::CommandFactory;
use clap_mangen::Man;
use std::{fs, io, path::PathBuf, process::ExitCode};

/// Print the manual page, or write one for each command into a folder: `sdctl man --dir /usr/share/man/man1`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Outcome {
    let mut command = Cli::command();
    command.build();
    match args.dir {
        None => Man::new(command).render(&mut io::stdout())?,
        Some(dir) => {
            fs::create_dir_all(&dir)
                .and_then(|()| clap_mangen::generate_to(command, &dir))
                .map_err(|error| Failure::from(error).of(dir.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
