//! `sdctl drain`, `undrain`, `weight` and `set`: an attribute of an instance is changed, on its own lease.

use crate::{
    etcd::Etcd,
    failure::{Failure, Outcome},
    instances::{Reader, Row, find},
    output::colour,
    settings::Settings,
    telling,
};
use sd_core::{Edit, EditError, Entry, Escaped, Status};
use serde::Serialize;
use std::{fmt::Write, process::ExitCode};

/// Which instance is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// The instance: its key, KEY#PART where an entry has several, or its address
    #[arg(value_name = "KEY-OR-ADDRESS")]
    target: String,

    /// The service, where an address is not enough
    #[arg(long)]
    service: Option<String>,

    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Send no new calls to an instance; those on their way are finished
///
/// The edit is made on the instance's own lease and only if the entry stands as it was read. Its provider keeps it until
/// it changes its status itself. A format that cannot say draining refuses.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    target: TargetArgs,
}

/// Let an instance have new calls again
#[derive(Debug, clap::Args)]
pub(crate) struct UndrainArgs {
    #[command(flatten)]
    target: TargetArgs,
}

/// Give an instance another weight
#[derive(Debug, clap::Args)]
pub(crate) struct WeightArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// The weight; 0 asks for no calls
    weight: u32,
}

/// Set metadata of an instance
#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    #[command(flatten)]
    target: TargetArgs,

    /// NAME=VALUE, or NAME- to remove it
    #[arg(required = true, value_name = "NAME=VALUE")]
    metadata: Vec<String>,
}

pub(crate) async fn drain(args: DrainArgs, settings: &Settings) -> Outcome {
    edit(args.target, settings, Edit::new().status(Status::Draining)).await
}

pub(crate) async fn undrain(args: UndrainArgs, settings: &Settings) -> Outcome {
    edit(args.target, settings, Edit::new().status(Status::Serving)).await
}

pub(crate) async fn weight(args: WeightArgs, settings: &Settings) -> Outcome {
    edit(args.target, settings, Edit::new().weight(args.weight)).await
}

pub(crate) async fn set(args: SetArgs, settings: &Settings) -> Outcome {
    edit(args.target, settings, metadata(&args.metadata)?).await
}

fn metadata(pieces: &[String]) -> Outcome<Edit> {
    pieces.iter().try_fold(Edit::new(), |edit, piece| {
        match (piece.split_once('='), piece.strip_suffix('-')) {
            (Some((name, value)), _) if !name.is_empty() => Ok(edit.metadata(name, value)),
            (None, Some(name)) if !name.is_empty() => Ok(edit.without_metadata(name)),
            _ => Err(Failure::new(format!(
                "{} is neither NAME=VALUE nor NAME-",
                Escaped(piece)
            ))),
        }
    })
}

/// An entry before and after an edit.
#[derive(Debug, Serialize)]
struct EditRow {
    key: String,
    changed: bool,
    dry_run: bool,
    before: Vec<Row>,
    after: Vec<Row>,
}

async fn edit(args: TargetArgs, settings: &Settings, mut edit: Edit) -> Outcome {
    let etcd = Etcd::connect(settings).await?;
    let service = args.service.as_deref();
    let target = find(&etcd, &settings.format, service, &args.target).await?;
    edit.part = target.part;
    let codec = settings.format.codec(&target.read.service)?;
    let key = target.raw.entry.key.clone();
    let (before, after) = match args.dry_run {
        true => {
            let after = codec
                .edit(&target.raw.entry, &edit)
                .map_err(|error| refused(Failure::from(error), &settings.format_text))?;
            (target.raw.entry, after)
        }
        false => {
            let client = settings.client()?;
            let edited = sd_core::edit(&client, codec, &key, &edit).await;
            client.close().await;
            let edited = edited.map_err(|error| {
                let is_refused =
                    matches!(error, EditError::CannotSay(_) | EditError::NeedsAnotherKey);
                match (Failure::from(error), is_refused) {
                    (failure, true) => refused(failure, &settings.format_text),
                    (failure, false) => failure,
                }
            })?;
            (edited.before, edited.after)
        }
    };
    let mut reader = Reader::new(&settings.format, Some(&target.read.service))?;
    let mut rows = |entry: &Entry| {
        let read = reader.read(entry);
        read.map_or(Vec::new(), |read| Row::of_read(entry.key.as_str(), &read))
    };
    let row = EditRow {
        key: key.to_string(),
        changed: before.value != after.value,
        dry_run: args.dry_run,
        before: rows(&before),
        after: rows(&after),
    };
    settings
        .output
        .one(&row, |row| shown(row, &before, &after))?;
    Ok(ExitCode::SUCCESS)
}

fn refused(failure: Failure, format: &str) -> Failure {
    failure.of(Escaped(format)).advice(
        "what each format can say: docs/sdctl.md, Editing; an instance that cannot be drained is stopped where it runs",
    )
}

fn shown(row: &EditRow, before: &Entry, after: &Entry) -> String {
    let mut text = String::new();
    let what = match (row.changed, row.dry_run) {
        (false, _) => "nothing to change",
        (true, true) => "would be changed",
        (true, false) => "changed, on its own lease",
    };
    let _ = writeln!(text, "{}: {what}", Escaped(&row.key));
    if !row.changed {
        return text;
    }
    for (old, new) in row.before.iter().zip(&row.after) {
        let part = new
            .part
            .as_ref()
            .map_or(String::new(), |part| format!("#{part}: "));
        let differences = telling::differences(old, new);
        if differences != "registered anew" {
            let _ = writeln!(text, "  {}{differences}", Escaped(&part));
        }
    }
    let (bad, good) = (colour::BAD, colour::GOOD);
    let value = |entry: &Entry| crate::output::unabridged(&String::from_utf8_lossy(&entry.value));
    let _ = writeln!(text, "{bad}- {}{bad:#}", value(before));
    let _ = writeln!(text, "{good}+ {}{good:#}", value(after));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_set_and_removed() {
        let given = |pieces: &[&str]| {
            metadata(&pieces.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
        };
        let edit = given(&["a=1", "b=x=y", "c-", "d="]).unwrap();
        let expected = Edit::new()
            .metadata("a", "1")
            .metadata("b", "x=y")
            .metadata("d", "");
        assert_eq!(edit, expected.without_metadata("c"));
        for bad in ["", "=1", "a", "-"] {
            assert!(given(&[bad]).is_err(), "{bad}");
        }
    }
}
