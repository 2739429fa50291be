//! Counts of instructions in a file, and the comparison with them.
//!
//! Another compiler, another C library or another valgrind counts otherwise, whatever the code. So the file says
//! what they were, and counts of others are not compared.

use crate::{
    measure::Measured,
    output::Output,
    table::{Cell, Table},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, error::Error, fs, process::Command};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");
/// How far a count may be from what was recorded.
const TOLERANCE: f64 = 0.03;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Recorded {
    with: Environment,
    /// The instructions of one repetition, by name.
    instructions: BTreeMap<String, f64>,
}

/// What the counts depend on beside the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Environment {
    rustc: String,
    libc: String,
    valgrind: String,
    processor: String,
}

impl Environment {
    fn now() -> Self {
        let first_line = |program: &str| {
            let said = Command::new(program).arg("--version").output();
            let said = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
            let line = said
                .ok()
                .and_then(|said| said.lines().next().map(str::to_owned));
            line.unwrap_or_default()
        };
        Self {
            rustc: first_line("rustc"),
            libc: first_line("ldd"),
            valgrind: first_line("valgrind"),
            processor: format!("{}{}", std::env::consts::ARCH, vectors()),
        }
    }
}

/// Which instructions the C library copies memory with, as far as valgrind knows them.
fn vectors() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return " with AVX2";
    }
    ""
}

impl Recorded {
    pub(super) fn now(instructions: BTreeMap<String, f64>) -> Self {
        Self {
            with: Environment::now(),
            instructions,
        }
    }

    pub(super) fn read() -> Result<Self, Box<dyn Error>> {
        let file = fs::read_to_string(FILE)
            .map_err(|error| format!("{FILE}: {error}; --record makes it"))?;
        Ok(serde_json::from_str(&file)?)
    }

    pub(super) fn write(&self) -> Measured {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(FILE, text + "\n")?;
        eprintln!("recorded in {FILE}");
        Ok(())
    }

    /// Whether it was recorded with what is here now. Says so if it was not.
    pub(super) fn is_comparable(&self) -> bool {
        let here = Environment::now();
        if self.with != here {
            eprintln!(
                "nothing was compared: the instructions were recorded with\n  {:?}\nand here is\n  {here:?}\n\
                 --record records them anew",
                self.with
            );
        }
        self.with == here
    }

    /// Compares what is counted `now` with what was recorded.
    ///
    /// # Errors
    /// What has more or fewer instructions.
    pub(super) fn check(&self, now: &Self, output: &Output) -> Measured {
        let differences = self.differences(now);
        let columns = [
            ("", "piece"),
            ("recorded", "recorded"),
            ("now", "instructions"),
            ("%", "percent"),
        ];
        let title = format!(
            "instructions: {} of {} differ from what was recorded by more than {} %",
            differences.len(),
            self.instructions.len(),
            TOLERANCE * 100.0
        );
        let mut table = Table::new(title, columns);
        for (name, recorded, now) in &differences {
            let percent = recorded
                .zip(*now)
                .map(|(recorded, now)| (now / recorded - 1.0) * 100.0);
            table.row([
                Cell::Text((*name).to_owned()),
                Cell::number(*recorded, 1),
                Cell::number(*now, 1),
                Cell::number(percent, 1),
            ]);
        }
        output.table(&table)?;
        match differences.is_empty() {
            true => Ok(()),
            false => Err("if this is meant to be, --record records the new counts".into()),
        }
    }

    /// What differs by more than is tolerated, or is counted only once.
    fn differences<'a>(&'a self, now: &'a Self) -> Vec<(&'a str, Option<f64>, Option<f64>)> {
        let names = self.instructions.keys().chain(now.instructions.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort_unstable();
        names.dedup();
        let counts = names.into_iter().map(|name| {
            let of = |it: &Self| it.instructions.get(name).copied();
            (name.as_str(), of(self), of(now))
        });
        let differs = |&(_, recorded, now): &(_, Option<f64>, Option<f64>)| match (recorded, now) {
            (Some(recorded), Some(now)) => (now - recorded).abs() > TOLERANCE * recorded,
            _ => true,
        };
        counts.filter(differs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(counts: &[(&str, f64)]) -> Recorded {
        let counts = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        Recorded {
            with: Environment::now(),
            instructions: counts.collect(),
        }
    }

    #[test]
    fn three_percent_more_or_less_are_tolerated_and_no_piece_is_overlooked() {
        let before = recorded(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("gone", 1.0)]);
        let now = recorded(&[("a", 103.0), ("b", 96.9), ("c", 103.1), ("new", 1.0)]);
        let names: Vec<_> = before
            .differences(&now)
            .into_iter()
            .map(|it| it.0)
            .collect();
        assert_eq!(names, ["b", "c", "gone", "new"]);
        assert!(before.differences(&before).is_empty());
    }
}
