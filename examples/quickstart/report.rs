//! The output: each step, and the consumer's view and calls after it.

use crate::{
    SERVICE, TTL,
    consumer::{Call, Consumer},
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::SocketAddr,
};
use tokio::time::Instant;

/// The width of a line.
const WIDTH: usize = 76;

/// Prints the steps on stdout.
pub(crate) struct Report {
    start: Instant,
    steps: usize,
    /// All providers that the consumer ever saw.
    known: BTreeMap<String, SocketAddr>,
    calls: usize,
    answered: usize,
    retried: usize,
}

impl Report {
    /// Prints which registry is used.
    pub(crate) fn begin(stage: String) -> io::Result<Self> {
        let mut out = io::stdout().lock();
        writeln!(out, "quickstart, on {stage}")?;
        writeln!(out)?;
        writeln!(
            out,
            "  service    {SERVICE}, each provider on a lease of {TTL} s"
        )?;
        writeln!(
            out,
            "  consumer   Instancer -> Endpointer -> RoundRobin -> Retry"
        )?;
        writeln!(out, "  calls      o answered    x failed    . not asked")?;
        Ok(Self {
            start: Instant::now(),
            steps: 0,
            known: BTreeMap::new(),
            calls: 0,
            answered: 0,
            retried: 0,
        })
    }

    /// Prints the next step.
    pub(crate) fn step(&mut self, what: &str) -> io::Result<()> {
        self.steps += 1;
        let title = format!("{}. {what} ", self.steps);
        let time = format!(" {:.1} s", self.start.elapsed().as_secs_f64());
        let line = "-".repeat(WIDTH.saturating_sub(title.len() + time.len()));
        let mut out = io::stdout().lock();
        writeln!(out, "\n{title}{line}{time}")?;
        out.flush()
    }

    /// Prints the consumer's view and the outcome of its calls.
    pub(crate) fn after(&mut self, consumer: &Consumer, calls: Vec<Call>) -> io::Result<()> {
        self.calls += calls.len();
        self.answered += calls.iter().filter(|call| call.answered).count();
        self.retried += calls.iter().filter(|call| call.tried.len() > 1).count();
        let seen = consumer.addresses();
        self.known.extend(seen.clone());

        let mut out = io::stdout().lock();
        writeln!(out, "   consumer sees   {}", consumer.sees().join("  "))?;
        for (name, address) in &self.known {
            let marks: Vec<_> = calls.iter().map(|call| call.mark(name)).collect();
            if !seen.contains_key(name) && marks.iter().all(|mark| *mark == '.') {
                writeln!(out, "   {name:<6}   {:<15}   gone", "")?;
                continue;
            }
            let count = |mark| marks.iter().filter(|it| **it == mark).count();
            let line: Vec<_> = marks.iter().map(char::to_string).collect();
            let outcome = match (count('o'), count('x')) {
                (answers, 0) => format!("{answers} answered"),
                (0, failures) => format!("{failures} failed"),
                (answers, failures) => format!("{answers} answered, {failures} failed"),
            };
            writeln!(
                out,
                "   {name:<6}   {:<15}   {}   {outcome}",
                address.to_string(),
                line.join(" ")
            )?;
        }
        Ok(())
    }

    /// Prints a summary.
    pub(crate) fn end(self) -> io::Result<()> {
        let Self {
            start,
            calls,
            answered,
            retried,
            ..
        } = self;
        let secs = start.elapsed().as_secs_f64();
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "\n{answered} of {calls} calls were answered, {retried} of them after a retry, in {secs:.1} s."
        )
    }
}

impl Call {
    /// The mark for this call in the line of the provider `name`.
    fn mark(&self, name: &str) -> char {
        let Some(at) = self.tried.iter().rposition(|tried| tried == name) else {
            return '.';
        };
        match self.answered && at + 1 == self.tried.len() {
            true => 'o',
            false => 'x',
        }
    }
}
