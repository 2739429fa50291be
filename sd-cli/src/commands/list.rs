//! `sdctl list`: which services there are, or the instances of one.

use crate::{
    etcd::Etcd,
    failure::{Failure, Outcome},
    instances::{Read, Reader, Row, instance_table},
    output::{Table, colour},
    settings::Settings,
};
use anstyle::Style;
use sd_core::{Escaped, Status};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

/// List the services, or the instances of one
///
/// Of an instance: address, weight, zone, status, version, age, TTL and what is left of it, key. etcd knows no time, so
/// the age is how many changes of etcd ago the entry was created. An entry that consumers cannot read is listed too,
/// with the reason.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service. Without one, all services are listed
    service: Option<String>,

    /// The instances of all services
    #[arg(short, long, conflicts_with = "service")]
    instances: bool,

    /// Ask for the leases however many there are. Default: for up to 1,000, since each is a request to etcd
    #[arg(long)]
    leases: bool,
}

/// So many leases are asked for without being told to.
const MOST_LEASES: usize = 1_000;

pub(crate) async fn run(args: Args, settings: &Settings) -> Outcome {
    let etcd = Etcd::connect(settings).await?;
    let mut reader = Reader::new(&settings.format, args.service.as_deref())?;
    let (found, listing) = reader.list(&etcd).await?;
    if listing.unreadable_keys > 0 {
        eprintln!(
            "left out: {} keys that are no text",
            listing.unreadable_keys
        );
    }
    if args.service.is_none() && !args.instances {
        let services = services(found.iter().map(|(_, read)| read));
        settings
            .output
            .rows(&services, |rows, _| service_table(rows))?;
        return Ok(ExitCode::SUCCESS);
    }
    let leases: BTreeSet<_> = found.iter().map(|(raw, _)| raw.lease).collect();
    let leases = match args.leases || leases.len() <= MOST_LEASES {
        true => etcd.leases(leases).await?,
        false => {
            let many = leases.len();
            eprintln!("what is left of {many} leases was not asked for; --leases asks for it");
            BTreeMap::new()
        }
    };
    let rows: Vec<_> = found
        .iter()
        .flat_map(|(raw, read)| Row::of_entry(raw, read, &leases, listing.revision))
        .collect();
    settings.output.rows(&rows, |rows, is_wide| {
        instance_table(rows, is_wide, args.instances)
    })?;
    match args.service {
        Some(service) if rows.is_empty() => Err(Failure::new(format!(
            "no instance of {} is registered in the format {}",
            Escaped(&service),
            settings.format_text
        ))
        .advice(
            "`sdctl list` shows the services of this --format; `sdctl doctor` looks for the others",
        )),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A service, and how many instances it has.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct ServiceRow {
    service: String,
    instances: usize,
    serving: usize,
    draining: usize,
    other: usize,
    unreadable: usize,
}

fn services<'r>(read: impl Iterator<Item = &'r Read>) -> Vec<ServiceRow> {
    let mut services = BTreeMap::<&str, ServiceRow>::new();
    for read in read {
        let row = services.entry(&read.service).or_insert_with(|| ServiceRow {
            service: read.service.clone(),
            ..ServiceRow::default()
        });
        let Ok(instances) = &read.instances else {
            row.unreadable += 1;
            continue;
        };
        for instance in instances {
            row.instances += 1;
            match instance.status() {
                Status::Serving => row.serving += 1,
                Status::Draining => row.draining += 1,
                _ => row.other += 1,
            }
        }
    }
    services.into_values().collect()
}

fn service_table(rows: &[ServiceRow]) -> Table {
    let mut table = Table::new([
        "SERVICE",
        "INSTANCES",
        "SERVING",
        "DRAINING",
        "OTHER",
        "UNREADABLE",
    ]);
    for row in rows {
        let number = |number: usize, style: Style| {
            let style = if number == 0 { Style::new() } else { style };
            (number.to_string(), style)
        };
        table.styled_row([
            (Escaped(&row.service).to_string(), Style::new()),
            number(row.instances, Style::new()),
            number(row.serving, colour::GOOD),
            number(row.draining, colour::WARNING),
            number(row.other, colour::WARNING),
            number(row.unreadable, colour::BAD),
        ]);
    }
    table
}
