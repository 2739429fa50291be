//! `sdctl`: what an operator types to see, edit, run, call, check, copy and measure services in etcd.
//!
//! `args` is the command line, `settings` what it means together with the environment and the configuration file,
//! `commands` has one file for each command. What they decide without I/O is beside them: `instances` (what entries
//! mean), `changes`, `run`, `doctor`. `etcd` asks etcd what the toolkit's own client has no need for; `output` writes.

mod args;
mod changes;
mod commands;
mod copying;
mod doctor;
mod etcd;
mod failure;
mod instances;
mod measured;
mod output;
mod plain_http;
mod run;
mod settings;
mod telling;

use args::Cli;
use clap::Parser;
use std::{io, process::ExitCode};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(commands::run(cli));
            // A resolver that hangs does not hold the end up.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}
