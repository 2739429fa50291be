//! The report of a soak: a line for each fault, and a summary or the broken promise.

use std::{fmt, time::Duration};

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Line {
    /// The number of the fault, from 1. 0 if everything stops.
    pub number: usize,
    /// The time since the start.
    pub at: Duration,
    /// What happened.
    pub what: String,
    /// What the soak waited for: that everything agrees, or that nothing is left.
    pub then: &'static str,
    /// How long that took.
    pub took: Duration,
    /// Observations that break no promise.
    pub notes: Vec<String>,
}

/// The summary of a soak without a broken promise.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How many faults there were.
    pub faults: usize,
    /// How many times everything stopped and nothing was left.
    pub rounds: usize,
    /// The longest time until everything agreed.
    pub slowest: Duration,
    /// The longest time for which the machine did not let this process run.
    pub stalled: Duration,
    /// How many [notes](Line::notes) there were.
    pub notes: usize,
    /// The resident memory after each round, in bytes. Empty if the system does not tell.
    pub resident: Vec<u64>,
}

/// A promise was broken.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// The first fault of the round in which it happened. A run that [begins](super::Soak::from)
    /// there has the same faults.
    pub first: usize,
    /// The selected kinds of faults. Empty for all.
    pub kinds: Vec<String>,
    /// The faults of that round, up to the current one.
    pub history: Vec<String>,
    /// The broken promise.
    pub why: String,
    /// The events since the last fault began, and the current state.
    pub account: Vec<String>,
}

/// A line of the history.
pub(super) fn entry(number: usize, at: Duration, what: &dyn fmt::Display) -> String {
    let at = at.as_secs_f64();
    match number {
        0 => format!("     {at:8.1} s  {what}"),
        _ => format!("{number:4} {at:8.1} s  {what}"),
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { then, took, .. } = self;
        let entry = entry(self.number, self.at, &self.what);
        write!(f, "{entry:<72} {then} after {:.2} s", took.as_secs_f64())?;
        for note in &self.notes {
            write!(f, "\n                 note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (faults, rounds, notes) = (self.faults, self.rounds, self.notes);
        write!(
            f,
            "all promises kept: {faults} faults in {rounds} rounds; agreed after {:.2} s at the \
             latest, nothing left after any round; {notes} notes; the machine stood still for \
             {:.2} s at the longest",
            self.slowest.as_secs_f64(),
            self.stalled.as_secs_f64()
        )?;
        if let (Some(first), Some(last)) = (self.resident.first(), self.resident.last()) {
            let mib = |bytes: &u64| bytes / (1024 * 1024);
            write!(f, "; memory {} MiB, then {} MiB", mib(first), mib(last))?;
        }
        Ok(())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks a promise:\n  {}", self.seed, self.why)?;
        if !self.history.is_empty() {
            writeln!(
                f,
                "\nthe faults since everything began anew, the last is the one:"
            )?;
        }
        for line in &self.history {
            writeln!(f, "  {line}")?;
        }
        if !self.account.is_empty() {
            writeln!(f, "\nwhat happened, counted from when that fault began:")?;
        }
        for line in &self.account {
            writeln!(f, "  {line}")?;
        }
        let (seed, first) = (self.seed, self.first);
        write!(f, "\nagain: ./run soak --seed {seed} --from {first}")?;
        match &self.kinds[..] {
            [] => Ok(()),
            kinds => write!(f, " --only {}", kinds.join(",")),
        }
    }
}

impl std::error::Error for Broken {}
