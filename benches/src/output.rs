//! Where the measures write: results to stdout, progress to stderr.

use crate::{
    comparison::{self, Comparison},
    table::Table,
};
use std::{
    cell::RefCell,
    fs::File,
    io::{self, IsTerminal, Write},
};

/// Prints the tables of a measure as it makes them, and its progress in between.
pub struct Output {
    measure: &'static str,
    format: Format,
    /// Whether progress is one line that is written over.
    is_terminal: bool,
    /// What progress was shown last, where that is no terminal.
    shown: RefCell<String>,
    /// Where all results go as lines of JSON, besides stdout.
    record: Option<File>,
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
    /// The output of the measure of this name. What it prints is also written to `record`, as JSON.
    pub fn new(measure: &'static str, format: Format, record: Option<File>) -> Self {
        Self {
            measure,
            format,
            is_terminal: io::stderr().is_terminal(),
            shown: RefCell::default(),
            record,
        }
    }

    /// Shows what is going on, and how far. On a terminal that is one line, elsewhere a line for each
    /// `what`.
    pub(crate) fn progress(&self, what: &str, done: usize, of: usize) {
        let mut stderr = io::stderr().lock();
        // Nothing depends on it.
        if self.is_terminal {
            let _ = write!(stderr, "{CLEAR}{}: {what}, {done} of {of}", self.measure);
            let _ = stderr.flush();
        } else if *self.shown.borrow() != what {
            let _ = writeln!(stderr, "{}: {what}", self.measure);
            what.clone_into(&mut self.shown.borrow_mut());
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
        let lines = table.json_lines(self.measure);
        if let Some(mut record) = self.record.as_ref() {
            record.write_all(lines.as_bytes())?;
        }
        let text = match self.format {
            Format::Text => format!("{}\n", table.text()),
            Format::Json => lines,
        };
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Prints what is to be reached, and whether it was.
    ///
    /// # Errors
    /// As of [`table`](Self::table).
    pub(crate) fn compare(&self, comparisons: &[Comparison]) -> io::Result<()> {
        let title = format!("{}: what is to be reached", self.measure);
        self.table(&comparison::table(title, comparisons))
    }
}
