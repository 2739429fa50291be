//! The history of a run, line by line, and the first broken promise.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// The history of one run, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    lines: Vec<(Duration, String)>,
    violation: Option<String>,
}

impl History {
    /// Adds a line.
    pub(super) fn note(&mut self, at: Duration, line: String) {
        self.lines.push((at, line));
    }

    /// Records a broken promise. Later ones are ignored, since they may follow from the first.
    pub(super) fn violate(&mut self, at: Duration, what: String) {
        if self.violation.is_none() {
            self.note(at, format!("VIOLATION: {what}"));
            self.violation = Some(what);
        }
    }

    /// The first broken promise, if there is one.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// A digest that is equal for equal histories, in every run. The order of lines with the same
    /// time does not count: of several tasks that wait for one registrar, any may run first.
    pub fn digest(&self) -> u64 {
        let mut lines: Vec<_> = self.lines.iter().collect();
        lines.sort_unstable();
        let mut hasher = DefaultHasher::new();
        lines.hash(&mut hasher);
        hasher.finish()
    }
}

/// Prints only the last lines. The cause of a violation is seldom older.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LAST: usize = 400;
        let skipped = self.lines.len().saturating_sub(LAST);
        if skipped > 0 {
            writeln!(
                f,
                "({skipped} earlier lines are left out; `{{:#}}` has them)"
            )?;
        }
        let from = if f.alternate() { 0 } else { skipped };
        for (at, line) in &self.lines[from..] {
            writeln!(f, "{:>12.3}  {line}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
