//! The verdicts of a run.

use crate::check::Check;
use std::fmt;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The client kept the promise.
    Passed,
    /// The client broke the promise. Holds how.
    Failed(String),
    /// The check could not be run. Holds why.
    NotRun(String),
}

/// The verdicts of all checks. `Display` writes them as a table: failed, not run, passed.
#[derive(Debug, Clone)]
#[must_use = "a report fails no test until it is asserted"]
pub struct Report {
    verdicts: Vec<(&'static Check, Verdict)>,
}

impl Report {
    pub(crate) fn new(verdicts: Vec<(&'static Check, Verdict)>) -> Self {
        Self { verdicts }
    }

    /// Every check that was run or should have been, with its verdict, in the order of
    /// [`checks`](crate::checks()).
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

    /// Panics if a check failed, for use in a test. A check that was not run is not a failure;
    /// assert on [`not_run`](Self::not_run) if your harness should support all.
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
        let checks: Vec<_> = crate::suite::checks().take(3).collect();
        Report::new(vec![
            (checks[0], Verdict::Passed),
            (checks[1], Verdict::Failed("it is gone".into())),
            (
                checks[2],
                Verdict::NotRun("the harness has no `put`".into()),
            ),
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
