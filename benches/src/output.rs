//! Where the measures write: results to stdout, progress to stderr.

use crate::table::Table;
use std::io::{self, IsTerminal, Write};

/// Prints the tables of a measure as it makes them, and its progress in between.
pub struct Output {
    measure: &'static str,
    format: Format,
    /// Whether progress is one line that is written over.
    is_terminal: bool,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Tables.
    Text,
    /// A line of JSON for each row.
    Json,
}

/// Returns to the beginning of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

impl Output {
    /// The output of the measure of this name.
    pub fn new(measure: &'static str, format: Format) -> Self {
        Self {
            measure,
            format,
            is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Shows what is going on, and how far: for a terminal only.
    pub(crate) fn progress(&self, what: &str, done: usize, of: usize) {
        if self.is_terminal {
            let mut stderr = io::stderr().lock();
            // Nothing depends on it.
            let _ = write!(stderr, "{CLEAR}{}: {what}, {done} of {of}", self.measure);
            let _ = stderr.flush();
        }
    }

    /// Prints a table.
    ///
    /// # Errors
    /// Stdout cannot be written to.
    pub(crate) fn table(&self, table: &Table) -> io::Result<()> {
        if self.is_terminal {
            eprint!("{CLEAR}");
        }
        let text = match self.format {
            Format::Text => format!("{}\n", table.text()),
            Format::Json => table.json_lines(self.measure),
        };
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}
