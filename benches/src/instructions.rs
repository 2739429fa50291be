//! Instructions of picks, counted by callgrind.
//!
//! Unlike times, they are the same in every run on a machine, so a change of a few instructions is
//! seen. They say less about time: a locked memory access takes as long as dozens of others, and
//! so it is counted as well.
//!
//! This program starts itself under valgrind, with the option `--counted`. Callgrind counts
//! only inside of [`counted_picks`], and writes a file of totals after each candidate.

use crate::{
    measure::{Measured, Options},
    output::Output,
    picks::{Kind, SIZES, candidates, source},
    rounds::Work,
    table::{Cell, Table},
};
use std::{
    error::Error,
    fs,
    hint::black_box,
    io,
    path::Path,
    process::{Command, Stdio},
};

const PICKS: u64 = 10_000;
/// Matches [`counted_picks`].
const COUNTED: &str = "*counted_picks*";
/// Matches [`candidate_picks`]. Callgrind takes one option for a function, so these are two.
const WRITTEN_AFTER: &str = "*candidate_picks*";
const MISSING: &str = "valgrind is missing, which counts them: install it with the system's package \
                       manager, or from https://valgrind.org";

/// What callgrind has counted during the picks of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    instructions: u64,
    /// Memory accesses that lock the bus: atomic changes.
    locked: u64,
}

pub(crate) fn run(_: &Options, output: &Output) -> Measured {
    let directory = tempfile::tempdir()?;
    output.progress("valgrind", 0, 1);
    let mut program = Command::new("valgrind");
    program
        .args(["--tool=callgrind", "--collect-bus=yes", "--quiet"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={WRITTEN_AFTER}"))
        .arg(option(
            "--callgrind-out-file",
            &directory.path().join("out"),
        ))
        .arg(std::env::current_exe()?)
        .arg("--counted")
        .stdin(Stdio::null());
    let ran = program.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MISSING.into(),
        _ => Box::<dyn Error>::from(error),
    })?;
    if !ran.status.success() {
        let told = String::from_utf8_lossy(&ran.stderr);
        return Err(format!("valgrind ended with {}: {told}", ran.status).into());
    }
    let candidates = candidates();
    let sizes = SIZES.iter().zip(0..);
    for (endpoints, first) in sizes.map(|(size, n)| (size, n * candidates.len())) {
        let counts = (first..first + candidates.len()).map(|n| {
            // Dumps are numbered from 1.
            let file = directory.path().join(format!("out.{}", n + 1));
            let text = fs::read_to_string(&file).map_err(|error| {
                format!("callgrind has not written {}: {error}", file.display())
            })?;
            totals(&text).ok_or_else(|| format!("no totals in {}", file.display()))
        });
        let counts = counts.collect::<Result<Vec<_>, _>>()?;
        let title = format!(
            "instructions: {endpoints} endpoints, 1 thread (a pick and the report of its end)"
        );
        let columns = [
            ("balancer", "balancer"),
            ("instructions", "instructions"),
            ("floor", "floor_instructions"),
            ("above", "above_floor"),
            ("locked", "locked"),
        ];
        let mut table = Table::new(title, columns).with("endpoints", *endpoints);
        for (candidate, counted) in candidates.iter().zip(&counts) {
            let floor = candidate.kind.floor().and_then(|floor| {
                let wanted = Kind::Floor(floor);
                let n = candidates
                    .iter()
                    .position(|candidate| candidate.kind == wanted)?;
                Some(counts[n])
            });
            let each = |count: u64| count as f64 / PICKS as f64;
            let floor = floor.map(|floor| each(floor.instructions));
            let instructions = each(counted.instructions);
            table.row([
                Cell::Text(candidate.name.to_owned()),
                Cell::Number(instructions, 1),
                Cell::number(floor, 1),
                Cell::number(floor.map(|floor| instructions - floor), 1),
                Cell::Number(each(counted.locked), 1),
            ]);
        }
        output.table(&table)?;
    }
    Ok(())
}

/// Makes the picks of all candidates, to be counted by callgrind.
pub fn run_counted() {
    for endpoints in SIZES {
        for candidate in candidates() {
            // Every run draws the same.
            fastrand::seed(1);
            let mut picker = (candidate.prepare)(source(endpoints))();
            picker(PICKS);
            candidate_picks(&mut picker);
        }
    }
}

/// Callgrind writes its totals after each call of this.
#[inline(never)]
fn candidate_picks(picker: &mut Work) {
    counted_picks(picker);
    black_box(picker);
}

/// Callgrind counts what this does.
#[inline(never)]
fn counted_picks(picker: &mut Work) {
    picker(PICKS);
    // So that the call is not a jump, after which callgrind does not see that this function ends.
    black_box(picker);
}

fn option(name: &str, value: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push("=");
    option.push(value);
    option
}

/// The totals in a file that callgrind wrote.
fn totals(file: &str) -> Option<Counts> {
    let values = |name: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().collect::<Vec<_>>())
    };
    let (events, totals) = (values("events:")?, values("totals:")?);
    let total = |event: &str| {
        let n = events.iter().position(|name| *name == event)?;
        // Trailing zeros are left out.
        totals.get(n).map_or(Some(0), |total| total.parse().ok())
    };
    Some(Counts {
        instructions: total("Ir")?,
        locked: total("Ge")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found_by_the_names_of_their_events() {
        let file = |totals: &str| format!("version: 1\nevents: Ir Ge\n\nfn=(1) x\n1 7\n\n{totals}");
        let (instructions, locked) = (4711, 12);
        let counts = Counts {
            instructions,
            locked,
        };
        assert_eq!(totals(&file("totals: 4711 12\n")), Some(counts));
        assert_eq!(totals(&file("totals: 4711\n")).map(|it| it.locked), Some(0));
        assert_eq!(totals(&file("")), None);
    }
}
