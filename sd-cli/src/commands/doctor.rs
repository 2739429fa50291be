//! `sdctl doctor`: what is wrong, and what to do about it.

use crate::{
    doctor::{self, Finding, Options, Severity},
    failure::Outcome,
    output::{self, colour, waiting},
    settings::Settings,
};
use std::process::ExitCode;

/// Look for what is wrong with etcd and with the services in it, and say what to do
///
/// Each member: whether it answers, its version and the faults of that version, its leader, alarms, quota; whether leases
/// work; the rights of this user. Each service: entries that cannot be read, and which format would read them; entries
/// without a lease; leases that nobody renews; addresses that several have or that nobody can call; names that begin
/// alike; services of which no instance serves.
///
/// Writes nothing but a lease of its own, which it revokes. The exit status is that of the worst finding: 0 for nothing
/// or notes, 3 for a warning, 4 for an error.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this service
    service: Option<String>,

    /// Also connect to each instance
    #[arg(long)]
    connect: bool,
}

pub(crate) async fn run(args: Args, settings: &Settings) -> Outcome {
    let options = Options {
        service: args.service.as_deref(),
        connects: args.connect,
    };
    let facts = waiting("looking", doctor::gather(settings, &options)).await?;
    let findings = doctor::findings(&facts);
    match settings.output.is_json() {
        true => settings
            .output
            .rows(&findings, |_, _| output::Table::default())?,
        false => output::line(&shown(&findings))?,
    }
    let worst = findings.iter().map(|finding| finding.severity).max();
    Ok(ExitCode::from(worst.map_or(0, Severity::exit_status)))
}

fn shown(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing is wrong".to_owned();
    }
    let lines = findings.iter().map(|finding| {
        let (word, style) = match finding.severity {
            Severity::Error => ("error", colour::ERROR),
            Severity::Warning => ("warning", colour::WARNING),
            Severity::Note => ("note", colour::FAINT),
        };
        let Finding {
            check,
            subject,
            message,
            advice,
            ..
        } = finding;
        format!("{style}{word}{style:#} [{check}] {subject}: {message}\n    {advice}")
    });
    lines.collect::<Vec<_>>().join("\n")
}
