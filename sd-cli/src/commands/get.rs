//! `sdctl get`: one entry, with all that is known of it.

use crate::{
    etcd::{Etcd, Lease, RawEntry},
    failure::{Failure, Outcome},
    instances::{Reader, Row, shown_lease},
    output::{counted, unabridged},
    settings::Settings,
};
use sd_core::Escaped;
use serde::Serialize;
use serde_json::Value;
use std::{fmt::Write, process::ExitCode};

/// Show one entry: its value, its lease, its revisions, and what the format reads in it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The key of the entry
    #[arg(id = "entry", value_name = "KEY")]
    key: String,
}

/// An entry, and what it means.
#[derive(Debug, Serialize)]
struct EntryRow {
    key: String,
    /// As JSON if it is JSON, else as text.
    value: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_seconds: Option<i64>,
    created_revision: i64,
    modified_revision: i64,
    puts: i64,
    age_revisions: i64,
    instances: Vec<Row>,
}

pub(crate) async fn run(args: Args, settings: &Settings) -> Outcome {
    let etcd = Etcd::connect(settings).await?;
    let (Some(raw), revision) = etcd.entry(&args.key).await? else {
        return Err(
            Failure::new(format!("there is no entry {}", Escaped(&args.key)))
                .advice("`sdctl list SERVICE` shows the keys; a --namespace stands before them"),
        );
    };
    let lease = etcd.leases([raw.lease]).await?.remove(&raw.lease);
    let read = Reader::new(&settings.format, None)?.read(&raw.entry);
    let instances = read.map_or(Vec::new(), |read| {
        Row::of_read(raw.entry.key.as_str(), &read)
    });
    let row = entry_row(&raw, lease, revision, instances);
    let format = &settings.format_text;
    settings.output.one(&row, |row| shown(row, &raw, format))?;
    Ok(ExitCode::SUCCESS)
}

fn entry_row(raw: &RawEntry, lease: Option<Lease>, revision: i64, instances: Vec<Row>) -> EntryRow {
    let text = || Value::from(String::from_utf8_lossy(&raw.entry.value).into_owned());
    EntryRow {
        key: raw.entry.key.to_string(),
        value: serde_json::from_slice(&raw.entry.value).unwrap_or_else(|_| text()),
        lease: (raw.lease != 0).then(|| shown_lease(raw.lease)),
        ttl_seconds: lease.map(|lease| lease.granted),
        left_seconds: lease.map(|lease| lease.left),
        created_revision: raw.created,
        modified_revision: raw.modified,
        puts: raw.puts,
        age_revisions: (revision - raw.created).max(0),
        instances,
    }
}

fn shown(row: &EntryRow, raw: &RawEntry, format: &str) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("key", &Escaped(&row.key));
    match &row.lease {
        Some(lease) => {
            let left = match (row.ttl_seconds, row.left_seconds) {
                (Some(ttl), Some(left)) if left >= 0 => format!(", {left}s of {ttl}s left"),
                _ => ", which has ended".to_owned(),
            };
            line("lease", &format_args!("{lease}{left}"));
        }
        None => line("lease", &"none: nobody removes it when its provider ends"),
    }
    line(
        "created",
        &format_args!(
            "revision {}, {} ago",
            row.created_revision,
            counted(row.age_revisions, "change", "changes")
        ),
    );
    line(
        "modified",
        &format_args!(
            "revision {}, put {}",
            row.modified_revision,
            counted(row.puts, "time", "times")
        ),
    );
    if row.instances.is_empty() {
        line(
            "read as",
            &format_args!("no instance of the format {format}"),
        );
    }
    for instance in &row.instances {
        match &instance.unreadable {
            Some(why) => line("unreadable", why),
            None => {
                let json = serde_json::to_string(instance).unwrap_or_default();
                line("read as", &unabridged(&json));
            }
        }
        if let Some(why) = &instance.ignored {
            line("left out", why);
        }
    }
    line("value", &format_args!("{} bytes", raw.entry.value.len()));
    let value = match &row.value {
        Value::String(plain) => plain.clone(),
        json => serde_json::to_string_pretty(json).unwrap_or_default(),
    };
    for part in value.lines() {
        let _ = writeln!(text, "  {}", unabridged(part));
    }
    text
}
