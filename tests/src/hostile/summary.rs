//! What became of the fleet.

use super::{
    attack::Attack,
    consumer::{LIMITS, memory_limit},
    log::{LONGEST_LINE, Written},
    names::PER_SERVICE,
    process::HonestProcess,
};
use std::{collections::BTreeMap, fmt, time::Duration};

/// The most lines that one prefix, or one lease, may cause within a minute.
const LINES: usize = 10;
/// Lines of the connection for one interruption: two connections are given up and connected to again.
const LINES_OF_INTERRUPTION: usize = 4;
/// So many targets are made for one key whose address changes all the time, before its pauses are
/// [`PAUSE`] long.
const MADE: usize = 8 + 5;
const PAUSE: Duration = Duration::from_secs(15);
/// What the providers take at most, in bytes: eight clients that read up to 8 MiB at once.
const PROVIDER_MEMORY: usize = 8 * (8 << 20) + (32 << 20);

/// What became of the fleet, and of the attack.
#[derive(Debug)]
pub struct Summary {
    seed: u64,
    lasting: Duration,
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
    /// What it had written before the attack.
    before: Written,
    written: Written,
}

impl Summary {
    pub(super) fn new(seed: u64, lasting: Duration, processes: [&HonestProcess; 3]) -> Self {
        let observed = |process: &HonestProcess| Observed {
            role: process.role(),
            before: process.written(),
            written: Written::default(),
        };
        Self {
            seed,
            lasting,
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
                    .broken(self.interruptions, self.lasting)
                    .into_iter()
                    .map(|it| format!("{of}: {it}")),
            );
        }
        broken
    }
}

impl Observed {
    fn broken(&self, interruptions: usize, lasting: Duration) -> Vec<String> {
        let mut broken = Vec::new();
        let made = MADE + lasting.div_duration_f64(PAUSE) as usize + 1;
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
            if view.made > made {
                broken.push(format!("{} targets for one key", view.made));
            }
        }
        for (subject, lines) in self.written.lines_a_minute(self.before.log.len()) {
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
        let memory = self.written.memory();
        if memory > self.memory_limit() {
            broken.push(format!(
                "{} MiB of memory, more than {}",
                memory >> 20,
                self.memory_limit() >> 20
            ));
        }
        broken
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
            let written = [&observed.before, &observed.written];
            let [before, memory] = written.map(|written| written.memory() >> 20);
            let (role, limit) = (observed.role, observed.memory_limit() >> 20);
            writeln!(
                f,
                "{role}: {memory} MiB of {limit}, {before} before the attack"
            )?;
            for (service, view) in &observed.written.views {
                writeln!(
                    f,
                    "  service {service}: {} honest instances and {} endpoints at least, {} shown, {} targets of one key",
                    view.least[0], view.least[1], view.shown, view.made
                )?;
            }
            for (subject, lines) in observed.written.lines_a_minute(observed.before.log.len()) {
                writeln!(f, "  {lines} log lines a minute about {subject}")?;
            }
            for kind in observed.written.kinds(observed.before.log.len()) {
                writeln!(f, "    {kind}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::log::View;

    fn observed(view: View, lines: usize) -> Observed {
        let mut written = Written::default();
        written.views.insert(0, view);
        let line = "log 1.0 WARN sd_core: entry skipped prefix=/services/s0/ key=x";
        written.take(&[line].repeat(lines).join("\n"));
        Observed {
            role: "consume",
            before: Written::default(),
            written,
        }
    }

    #[test]
    fn what_is_broken_is_found() {
        let kept = View {
            service: 0,
            seen: [PER_SERVICE; 2],
            least: [PER_SERVICE; 2],
            shown: LIMITS.0,
            made: MADE,
            foreign: 0,
            memory: memory_limit(),
        };
        let found = |view, lines| observed(view, lines).broken(0, Duration::ZERO);
        assert_eq!(found(kept, LINES), [""; 0]);
        let mut one_less = kept;
        one_less.least[0] -= 1;
        let mut no_endpoint = kept;
        no_endpoint.least[1] -= 1;
        let broken = [
            (one_less, "only 249 were seen"),
            (no_endpoint, "249 had an endpoint"),
            (
                View {
                    shown: LIMITS.0 + 1,
                    ..kept
                },
                "1001 instances",
            ),
            (View { made: 100, ..kept }, "100 targets"),
            (View { foreign: 1, ..kept }, "must not be called"),
            (
                View {
                    memory: kept.memory + (1 << 20),
                    ..kept
                },
                "MiB of memory",
            ),
        ];
        for (view, why) in broken {
            let found = found(view, LINES);
            assert!(
                found.len() == 1 && found[0].contains(why),
                "{why}: {found:?}"
            );
        }
        let found = found(kept, LINES + 1);
        assert!(
            found[0].contains("11 log lines a minute about /services/s0/"),
            "{found:?}"
        );
        let mut forged = observed(kept, 0);
        forged
            .written
            .take("2026-01-01T00:00:00Z ERROR all is lost");
        assert_eq!(forged.broken(0, Duration::ZERO).len(), 1);
    }
}
