//! What happened in a run, line by line, and the first promise that was broken.

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
    /// Something happened.
    pub(super) fn note(&mut self, at: Duration, line: String) {
        self.lines.push((at, line));
    }

    /// A promise was broken. What follows the first one is no more than its consequence.
    pub(super) fn violate(&mut self, at: Duration, what: String) {
        if self.violation.is_none() {
            self.note(at, format!("VIOLATION: {what}"));
            self.violation = Some(what);
        }
    }

    /// The promise that was broken, if one was.
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

    /// The same for the same history, in every run. In which order lines of one moment stand does
    /// not count: of several who wait for one registrar, any may be the first to say what it heard.
    pub fn digest(&self) -> u64 {
        let mut lines: Vec<_> = self.lines.iter().collect();
        lines.sort_unstable();
        let mut hasher = DefaultHasher::new();
        lines.hash(&mut hasher);
        hasher.finish()
    }
}

/// The last lines in full; what led to a violation is seldom older.
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
