//! What a soak tells: a line for each fault, a summary, or the promise that was broken.

use std::{fmt, time::Duration};

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Line {
    /// Which fault it is, from 1; 0 where everything stops.
    pub number: usize,
    /// Since the start.
    pub at: Duration,
    /// What.
    pub what: String,
    /// What was waited for then: that all agree, or that nothing is left.
    pub then: &'static str,
    /// How long that took.
    pub took: Duration,
    /// What else is worth a word, and breaks no promise.
    pub notes: Vec<String>,
}

/// How it went.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How many faults there were.
    pub faults: usize,
    /// How many times everything stopped and nothing was left.
    pub rounds: usize,
    /// The longest time until all agreed.
    pub slowest: Duration,
    /// The longest time for which the machine did not let this process run.
    pub stalled: Duration,
    /// How much was [noted](Line::notes).
    pub notes: usize,
    /// The resident memory after each round, in bytes; empty where the system does not say.
    pub resident: Vec<u64>,
}

/// A promise was broken.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The seed that did it.
    pub seed: u64,
    /// The first fault of the round in which it happened; a run that [begins](super::Soak::from) there has
    /// the same faults.
    pub first: usize,
    /// The kinds that it was of, if not of all.
    pub kinds: Vec<String>,
    /// Everything in that round up to there; the last is what was being done.
    pub history: Vec<String>,
    /// Which promise.
    pub why: String,
    /// Who did what when since the last fault began, and how it stands now.
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
