//! What the suite found out.

use super::Check;
use std::fmt;

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The promise was kept.
    Passed,
    /// The promise was broken, and how.
    Failed(String),
    /// The check could not be run, and why.
    NotRun(String),
}

/// The verdicts on a backend. Its `Display` is a table: what failed, what was not run, what passed.
#[derive(Debug, Clone)]
#[must_use = "a report that nobody looks at might as well not have been made"]
pub struct Report {
    verdicts: Vec<(&'static Check, Verdict)>,
}

impl Report {
    pub(super) fn new(mut verdicts: Vec<(&'static Check, Verdict)>) -> Self {
        let place = |check: &Check| super::checks().position(|c| c.name() == check.name());
        verdicts.sort_by_key(|(check, _)| place(check));
        Self { verdicts }
    }

    /// Every check that was asked for with its verdict, in the order of [`checks`](super::checks).
    pub fn verdicts(&self) -> impl ExactSizeIterator<Item = (&'static Check, &Verdict)> {
        self.verdicts
            .iter()
            .map(|(check, verdict)| (*check, verdict))
    }

    /// The names of the checks that passed.
    pub fn passed(&self) -> Vec<&'static str> {
        self.names(|verdict| matches!(verdict, Verdict::Passed))
    }

    /// The names of the checks that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        self.names(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    /// The names of the checks that were not run.
    pub fn not_run(&self) -> Vec<&'static str> {
        self.names(|verdict| matches!(verdict, Verdict::NotRun(_)))
    }

    /// For tests: all is well unless a check failed.
    ///
    /// # Panics
    /// With the whole table if a check failed.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.failed().is_empty(), "\n{self}");
    }

    fn names(&self, wanted: impl Fn(&Verdict) -> bool) -> Vec<&'static str> {
        self.verdicts
            .iter()
            .filter(|(_, verdict)| wanted(verdict))
            .map(|(check, _)| check.name())
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "conformance: {} passed, {} failed, {} not run",
            self.passed().len(),
            self.failed().len(),
            self.not_run().len()
        )?;
        for (check, verdict) in &self.verdicts {
            if let Verdict::Failed(message) = verdict {
                writeln!(f, "  FAILED   {}", check.name())?;
                writeln!(f, "           promised: {}", check.promise())?;
                writeln!(f, "           found: {message}")?;
            }
        }
        for (check, verdict) in &self.verdicts {
            if let Verdict::NotRun(reason) = verdict {
                writeln!(f, "  not run  {} ({reason})", check.name())?;
            }
        }
        for name in self.passed() {
            writeln!(f, "  passed   {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let checks: Vec<_> = crate::checks().take(3).collect();
        Report::new(vec![
            (
                checks[2],
                Verdict::NotRun("the harness has no `put`".into()),
            ),
            (checks[1], Verdict::Failed("it is gone".into())),
            (checks[0], Verdict::Passed),
        ])
    }

    #[test]
    fn the_table_says_what_was_promised_and_what_was_found() {
        let report = report();
        let table = report.to_string();
        assert!(table.starts_with("conformance: 1 passed, 1 failed, 1 not run\n"));
        assert!(table.contains(&format!("  FAILED   {}\n", report.failed()[0])));
        assert!(table.contains("found: it is gone\n"));
        assert!(table.contains("(the harness has no `put`)\n"));
        assert_eq!(report.verdicts().len(), 3);
    }

    #[test]
    #[should_panic(expected = "it is gone")]
    fn a_broken_promise_fails_the_test() {
        report().assert_passed();
    }
}
