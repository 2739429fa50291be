//! Changes in words, and when the program is told to stop.

use crate::{changes::Event, instances::Row, output::colour};
use anstyle::Style;
use sd_core::Escaped;
use serde::Serialize;
use serde_json::Value;
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// An event as an object of JSON: docs/sdctl.md describes it.
#[derive(Debug, Serialize)]
pub(crate) struct EventRow<'e> {
    pub(crate) time: &'e str,
    pub(crate) event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<&'e Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<&'e Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<&'e str>,
}

impl<'e> EventRow<'e> {
    pub(crate) fn of(time: &'e str, event: &'e Event) -> Self {
        let (name, instance, before) = match event {
            Event::Added(row) => ("added", row, None),
            Event::Updated { before, after } => ("updated", after, Some(&**before)),
            Event::Removed(row) => ("removed", row, None),
            Event::Unreadable(row) => ("unreadable", row, None),
        };
        Self {
            time,
            event: name,
            instance: Some(instance),
            before,
            why: None,
        }
    }

    pub(crate) fn trouble(time: &'e str, event: &'static str, why: Option<&'e str>) -> Self {
        Self {
            time,
            event,
            instance: None,
            before: None,
            why,
        }
    }
}

/// An event in one line.
pub(crate) fn line(event: &Event) -> String {
    let (sign, style, row, what) = match event {
        Event::Added(row) => ('+', colour::GOOD, row, says(row)),
        Event::Updated { before, after } => {
            ('~', colour::WARNING, after, differences(before, after))
        }
        Event::Removed(row) => ('-', colour::BAD, row, says(row)),
        Event::Unreadable(row) => (
            '!',
            colour::BAD,
            row,
            row.unreadable.clone().unwrap_or_default(),
        ),
    };
    let address = row.address.as_deref().unwrap_or("unreadable");
    let part = row
        .part
        .as_ref()
        .map_or(String::new(), |part| format!("#{part}"));
    format!(
        "{style}{sign}{style:#} {} {}  {what}  {}",
        Escaped(&row.service),
        Escaped(address),
        faint(&Escaped(format_args!("{}{part}", row.key)).to_string()),
    )
}

fn faint(text: &str) -> String {
    let style: Style = colour::FAINT;
    format!("{style}{text}{style:#}")
}

/// What an instance says, in short.
fn says(row: &Row) -> String {
    if let Some(why) = &row.unreadable {
        return why.clone();
    }
    // The address stands before.
    let is_short = |name: &str| name != "address" && !name.starts_with("metadata.");
    let said = attributes(row)
        .into_iter()
        .filter(|(name, _)| is_short(name));
    let said = said.map(|(name, value)| match name.as_str() {
        "status" => value,
        _ => format!("{name} {value}"),
    });
    said.collect::<Vec<_>>().join(", ")
}

/// What changes from one to the other: `weight 3 -> 1`.
pub(crate) fn differences(before: &Row, after: &Row) -> String {
    let (old, new) = (attributes(before), attributes(after));
    let find = |all: &[(String, String)], name: &str| {
        all.iter()
            .find(|(known, _)| known == name)
            .map_or("none".to_owned(), |(_, value)| value.clone())
    };
    let mut names: Vec<_> = old
        .iter()
        .chain(&new)
        .map(|(name, _)| name.clone())
        .collect();
    names.sort();
    names.dedup();
    let changed = names.into_iter().filter_map(|name| {
        let (old, new) = (find(&old, &name), find(&new, &name));
        (old != new).then(|| format!("{name} {old} -> {new}"))
    });
    let changed = changed.collect::<Vec<_>>().join(", ");
    match changed.is_empty() {
        // The lease is no attribute, but another registration.
        true => "registered anew".to_owned(),
        false => changed,
    }
}

fn attributes(row: &Row) -> Vec<(String, String)> {
    let text = |text: &Option<String>| text.as_ref().map(|text| Escaped(text).to_string());
    let known = [
        ("address", text(&row.address)),
        ("weight", row.weight.map(|weight| weight.to_string())),
        ("zone", text(&row.zone)),
        ("status", text(&row.status)),
        ("id", text(&row.id)),
        ("version", text(&row.version)),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let metadata = row.metadata.iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) => Escaped(text).to_string(),
            json => Escaped(json).to_string(),
        };
        (format!("metadata.{}", Escaped(name)), value)
    });
    known.chain(metadata).collect()
}

/// Resolves at the first Ctrl-C or SIGTERM. From its first poll on, neither ends the program.
pub(crate) async fn told_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}
