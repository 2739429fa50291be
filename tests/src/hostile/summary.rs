//! What became of the fleet.

use super::{
    attack::Attack,
    consumer::{LIMITS, memory_limit},
    log::{LONGEST_LINE, Written},
    names::PER_SERVICE,
    process::HonestProcess,
};
use std::{collections::BTreeMap, fmt};

/// The most lines that one prefix, or one lease, may cause within a minute.
const LINES: usize = 10;
/// Lines of the connection for one interruption: two connections are given up and connected to again.
const LINES_OF_INTERRUPTION: usize = 4;
/// The most runs of a factory for one key that changes all the time: eight at once, then one in up to 15 s.
/// And each address of the others has one.
const MADE: usize = 10 * LIMITS.0;
/// What the providers take at most, in bytes: eight clients that read up to 8 MiB at once.
const PROVIDER_MEMORY: usize = 8 * (8 << 20) + (32 << 20);

/// What became of the fleet, and of the attack.
#[derive(Debug)]
pub struct Summary {
    seed: u64,
    processes: Vec<Observed>,
    /// How many steps of each attack etcd has carried out.
    pub written: BTreeMap<Attack, u64>,
    /// How often a consumer was interrupted.
    pub interruptions: usize,
    /// The honest keys that did not stand, and what they became.
    pub fallen: BTreeMap<String, String>,
}

/// What an honest process has written.
#[derive(Debug)]
struct Observed {
    role: &'static str,
    /// How many log lines there were before the attack.
    before: usize,
    written: Written,
}

impl Summary {
    pub(super) fn new(seed: u64, processes: [&HonestProcess; 3]) -> Self {
        let observed = |process: &HonestProcess| Observed {
            role: process.role(),
            before: process.written().log.len(),
            written: Written::default(),
        };
        Self {
            seed,
            processes: processes.map(observed).into(),
            written: BTreeMap::new(),
            interruptions: 0,
            fallen: BTreeMap::new(),
        }
    }

    pub(super) fn look(&mut self, processes: [&HonestProcess; 3]) {
        for (observed, process) in self.processes.iter_mut().zip(processes) {
            observed.written = process.written();
        }
    }

    /// The promises that were broken.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (key, what) in self.fallen.iter().take(5) {
            broken.push(format!("{key} does not stand: {what}"));
        }
        for observed in &self.processes {
            let of = observed.role;
            broken.extend(
                observed
                    .broken(self.interruptions)
                    .map(|it| format!("{of}: {it}")),
            );
        }
        broken
    }
}

impl Observed {
    fn broken(&self, interruptions: usize) -> impl Iterator<Item = String> {
        let mut broken = Vec::new();
        for (service, view) in &self.written.views {
            if view.least != [PER_SERVICE; 2] {
                let [honest, endpoints] = view.least;
                broken.push(format!(
                    "of {PER_SERVICE} honest instances of service {service} only {honest} were seen, \
                     and {endpoints} had an endpoint"
                ));
            }
            if view.foreign > 0 {
                broken.push(format!("{} instances must not be called", view.foreign));
            }
            if view.shown > LIMITS.0 {
                broken.push(format!("{} instances of service {service}", view.shown));
            }
            if view.made > MADE {
                broken.push(format!("{} runs of a factory", view.made));
            }
        }
        for (subject, lines) in self.written.lines_a_minute(self.before) {
            let allowed = match &*subject {
                "the connection" => LINES + interruptions * LINES_OF_INTERRUPTION,
                _ => LINES,
            };
            if lines > allowed {
                broken.push(format!("{lines} log lines a minute about {subject}"));
            }
        }
        for line in &self.written.log {
            if line.text.len() > LONGEST_LINE {
                broken.push(format!("a log line of {} bytes", line.text.len()));
            }
        }
        for line in self.written.other.iter().take(3) {
            broken.push(format!("a line that is none of the log: {line}"));
        }
        if self.memory() > self.memory_limit() {
            broken.push(format!(
                "{} MiB of memory, more than {}",
                self.memory() >> 20,
                self.memory_limit() >> 20
            ));
        }
        broken.into_iter()
    }

    /// The most memory, in bytes.
    fn memory(&self) -> usize {
        let views = self.written.views.values();
        views.map(|view| view.memory).max().unwrap_or_default()
    }

    fn memory_limit(&self) -> usize {
        match self.role {
            "provide" => PROVIDER_MEMORY,
            _ => memory_limit(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {} interruptions of the second consumer",
            self.seed, self.interruptions
        )?;
        for (attack, steps) in &self.written {
            writeln!(f, "row {:>2}  {attack:?}: {steps} steps", attack.row())?;
        }
        for observed in &self.processes {
            let (memory, limit) = (observed.memory() >> 20, observed.memory_limit() >> 20);
            writeln!(f, "{}: {memory} MiB of {limit} MiB", observed.role)?;
            for (service, view) in &observed.written.views {
                writeln!(
                    f,
                    "  service {service}: {} honest instances and {} endpoints at least, {} shown, {} made",
                    view.least[0], view.least[1], view.shown, view.made
                )?;
            }
            for (subject, lines) in observed.written.lines_a_minute(observed.before) {
                writeln!(f, "  {lines} log lines a minute about {subject}")?;
            }
            for kind in observed.written.kinds(observed.before) {
                writeln!(f, "    {kind}")?;
            }
        }
        Ok(())
    }
}
