//! How results are written: columns, JSON, colour, progress.

pub(crate) mod colour;
mod progress;
mod table;
mod time;

pub(crate) use progress::{Progress, waiting};
pub(crate) use table::Table;
pub(crate) use time::now;

use crate::failure::Outcome;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::{
    fmt::Display,
    io::{self, BufWriter, Write},
};

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Output {
    /// Columns for people
    #[default]
    Table,
    /// More columns
    Wide,
    /// One JSON document
    Json,
    /// A JSON document in each line
    Jsonl,
}

impl Output {
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }

    /// Writes rows as JSON, or as the table that `table` makes, which knows whether it is to be wide.
    pub(crate) fn rows<R: Serialize>(
        self,
        rows: &[R],
        table: impl FnOnce(&[R], bool) -> Table,
    ) -> Outcome<()> {
        let mut out = BufWriter::new(anstream::stdout().lock());
        match self {
            Self::Table | Self::Wide => table(rows, self == Self::Wide).write(&mut out)?,
            Self::Json => {
                serde_json::to_writer_pretty(&mut out, rows)?;
                writeln!(out)?;
            }
            Self::Jsonl => {
                for row in rows {
                    serde_json::to_writer(&mut out, row)?;
                    writeln!(out)?;
                }
            }
        }
        Ok(out.flush()?)
    }

    /// Writes one thing as JSON, or as the lines that `lines` makes.
    pub(crate) fn one<R: Serialize>(
        self,
        row: &R,
        lines: impl FnOnce(&R) -> String,
    ) -> Outcome<()> {
        let mut out = anstream::stdout().lock();
        match self {
            Self::Table | Self::Wide => out.write_all(lines(row).as_bytes())?,
            Self::Json => writeln!(out, "{}", serde_json::to_string_pretty(row)?)?,
            Self::Jsonl => writeln!(out, "{}", serde_json::to_string(row)?)?,
        }
        Ok(out.flush()?)
    }
}

/// Writes a line at once, for what goes on.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// `1 entry`, `2 entries`.
pub(crate) fn counted(number: impl Display, one: &str, several: &str) -> String {
    let number = number.to_string();
    let what = if number == "1" { one } else { several };
    format!("{number} {what}")
}

/// A text from outside in one line, escaped and whole: `Escaped` cuts.
pub(crate) fn unabridged(text: &str) -> String {
    let mut characters = text.chars().peekable();
    let mut escaped = String::new();
    while characters.peek().is_some() {
        // So short that its escapes are not cut.
        let piece: String = characters.by_ref().take(16).collect();
        escaped += &sd_core::Escaped(piece).to_string();
    }
    escaped
}
