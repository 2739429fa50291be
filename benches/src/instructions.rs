//! Instructions of picks and of the pieces in `micro`, counted by callgrind.
//!
//! Unlike times, they are the same in every run on a machine, so a change of a few instructions is
//! seen. They say less about time: a locked memory access takes as long as dozens of others, and
//! so it is counted as well.
//!
//! This program starts itself under valgrind, with the option `--counted`. Callgrind counts
//! only inside of [`counted_work`], and writes a file of totals after each piece of work.
//!
//! `recorded` compares the counts with those of the last time that they were recorded.

mod recorded;

use crate::{
    measure::{Measured, Options},
    micro::PIECES,
    output::Output,
    picks::{Kind, SIZES, candidates, source},
    rounds::Work,
    table::{Cell, Table},
};
use recorded::Recorded;
use std::{
    error::Error,
    fs,
    hint::black_box,
    io,
    path::Path,
    process::{Command, Stdio},
};

/// How often each piece of work is done.
const TIMES: u64 = 10_000;
/// Matches [`counted_work`].
const COUNTED: &str = "*counted_work*";
/// Matches [`piece_of_work`]. Callgrind takes one option for a function, so these are two.
const WRITTEN_AFTER: &str = "*piece_of_work*";
const MISSING: &str = "valgrind is missing, which counts them: install it with the system's package \
                       manager, or from https://valgrind.org";

/// What callgrind has counted while a piece of work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    instructions: u64,
    /// Memory accesses that lock the bus: atomic changes.
    locked: u64,
}

pub(crate) fn run(options: &Options, output: &Output) -> Measured {
    if options.check && !has_valgrind() {
        eprintln!("nothing was compared: {MISSING}");
        return Ok(());
    }
    if options.check && !Recorded::read()?.is_comparable() {
        return Ok(());
    }
    output.progress("valgrind", 0, 1);
    let counts = count()?;
    if options.check || options.record {
        let own = works().zip(&counts).filter(|(counted, _)| counted.is_own);
        let own = own.map(|(counted, counts)| (counted.name, counts.each().0));
        let now = Recorded::now(own.collect());
        return match options.record {
            true => now.write(),
            false => Recorded::read()?.check(&now, output),
        };
    }
    let mut counts = &counts[..];
    for endpoints in SIZES {
        let picks;
        (picks, counts) = counts.split_at(candidates().len());
        output.table(&picks_table(endpoints, picks))?;
    }
    let columns = [
        ("", "piece"),
        ("instructions", "instructions"),
        ("locked", "locked"),
    ];
    let mut table = Table::new(
        "instructions: pieces that run for a change or a call",
        columns,
    );
    for (piece, counted) in PIECES.iter().zip(counts) {
        let (instructions, locked) = counted.each();
        table.row([
            Cell::Text(piece.name().to_owned()),
            Cell::Number(instructions, 1),
            Cell::Number(locked, 1),
        ]);
    }
    output.table(&table)?;
    Ok(())
}

fn picks_table(endpoints: usize, counts: &[Counts]) -> Table {
    let candidates = candidates();
    let title =
        format!("instructions: {endpoints} endpoints, 1 thread (a pick and the report of its end)");
    let columns = [
        ("balancer", "balancer"),
        ("instructions", "instructions"),
        ("floor", "floor_instructions"),
        ("above", "above_floor"),
        ("locked", "locked"),
    ];
    let mut table = Table::new(title, columns).with("endpoints", endpoints);
    for (candidate, counted) in candidates.iter().zip(counts) {
        let floor = candidate.kind.floor().and_then(|floor| {
            let wanted = Kind::Floor(floor);
            let n = candidates
                .iter()
                .position(|candidate| candidate.kind == wanted)?;
            Some(counts[n].each().0)
        });
        let (instructions, locked) = counted.each();
        table.row([
            Cell::Text(candidate.name.to_owned()),
            Cell::Number(instructions, 1),
            Cell::number(floor, 1),
            Cell::number(floor.map(|floor| instructions - floor), 1),
            Cell::Number(locked, 1),
        ]);
    }
    table
}

/// Something that is counted.
struct Counted {
    name: String,
    /// It is the toolkit's: no floor, and not that of another toolkit.
    is_own: bool,
    prepare: Box<dyn FnOnce() -> Work>,
}

/// All that is counted, in this order.
fn works() -> impl Iterator<Item = Counted> {
    let picks = SIZES.into_iter().flat_map(|endpoints| {
        candidates().into_iter().map(move |candidate| Counted {
            name: format!("pick, N = {endpoints}: {}", candidate.name),
            is_own: matches!(candidate.kind, Kind::Toolkit(_)),
            prepare: Box::new(move || (candidate.prepare)(source(endpoints))()),
        })
    });
    let pieces = PIECES.into_iter().map(|piece| Counted {
        name: piece.name().to_owned(),
        is_own: true,
        prepare: Box::new(move || piece.prepare()),
    });
    picks.chain(pieces)
}

fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok()
}

/// What is counted of each of [`works`].
fn count() -> Result<Vec<Counts>, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
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
    let counts = (0..works().count()).map(|n| {
        // Dumps are numbered from 1.
        let file = directory.path().join(format!("out.{}", n + 1));
        let text = fs::read_to_string(&file)
            .map_err(|error| format!("callgrind has not written {}: {error}", file.display()))?;
        totals(&text).ok_or_else(|| format!("no totals in {}", file.display()).into())
    });
    counts.collect()
}

/// Does all that is to be counted by callgrind.
pub fn run_counted() {
    for counted in works() {
        // Every run draws the same.
        fastrand::seed(1);
        let mut work = (counted.prepare)();
        work(TIMES);
        piece_of_work(&mut work);
    }
}

/// Callgrind writes its totals after each call of this.
#[inline(never)]
fn piece_of_work(work: &mut Work) {
    counted_work(work);
    black_box(work);
}

/// Callgrind counts what this does.
#[inline(never)]
fn counted_work(work: &mut Work) {
    work(TIMES);
    // So that the call is not a jump, after which callgrind does not see that this function ends.
    black_box(work);
}

impl Counts {
    /// Instructions and locked accesses of one repetition.
    fn each(self) -> (f64, f64) {
        let each = |count: u64| count as f64 / TIMES as f64;
        (each(self.instructions), each(self.locked))
    }
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
