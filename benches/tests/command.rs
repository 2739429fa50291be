//! The command line: what people and programs see.

#![allow(clippy::unwrap_used, reason = "a test")]

use serde_json::Value;
use std::process::{Command, Output};

fn bench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bench"))
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    (status.code(), stdout, stderr)
}

/// The rows of a measure, and what is in their first column.
fn rows(measure: &str) -> Vec<(String, Value)> {
    let (exit, lines, _) = run(bench().args([measure, "--json", "--rounds", "1"]));
    assert_eq!(exit, Some(0));
    lines
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            assert_eq!(row["measure"], measure);
            (row["balancer"].as_str().unwrap().to_owned(), row)
        })
        .collect()
}

#[test]
fn picks_stand_beside_their_floor_and_beside_random() {
    let rows = rows("picks");
    for balancer in ["RoundRobin", "Random"] {
        let of = rows.iter().filter(|(name, _)| name == balancer);
        let sizes: Vec<_> = of
            .map(|(_, row)| {
                for key in ["pick_ns", "floor_ns", "of_floor", "of_random"] {
                    assert!(row[key].as_f64().unwrap() > 0.0, "{key} of {row}");
                }
                assert_eq!(row["allocations"], 0.0);
                (
                    row["endpoints"].as_u64().unwrap(),
                    row["threads"].as_u64().unwrap(),
                )
            })
            .collect();
        assert!(sizes.starts_with(&[(10, 1), (1000, 1)]), "{sizes:?}");
    }
}

#[test]
fn builds_stand_beside_the_table_alone() {
    let rows = rows("builds");
    assert_eq!(rows[0].0, "the table alone");
    assert!(
        rows.iter()
            .all(|(_, row)| row["build_us"].as_f64().unwrap() > 0.0)
    );
    let sizes = rows.iter().filter(|(name, _)| name == "RoundRobin");
    let sizes: Vec<_> = sizes
        .map(|(_, row)| row["endpoints"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [10, 1000, 10_000]);
}

#[test]
fn instructions_are_counted_or_what_is_missing_is_said() {
    let (exit, lines, told) = run(bench().args(["instructions", "--json"]).env("PATH", ""));
    assert_eq!((exit, lines.as_str()), (Some(1), ""));
    assert!(told.contains("valgrind is missing"), "{told}");
    if Command::new("valgrind").arg("--version").output().is_err() {
        return;
    }
    let rows = rows("instructions");
    let of = |balancer: &str| {
        let (_, row) = rows.iter().find(|(name, _)| name == balancer).unwrap();
        row["instructions"].as_f64().unwrap()
    };
    assert!(of("RoundRobin") > of("floor: counter"));
    assert!(of("floor: counter") > 10.0);
}

#[test]
fn a_mistake_is_told_and_help_names_every_measure() {
    let (exit, _, told) = run(bench().arg("nothing"));
    assert_eq!(exit, Some(2));
    assert!(told.starts_with("no measure \"nothing\""), "{told}");
    let (exit, help, _) = run(bench().arg("--help"));
    assert_eq!(exit, Some(0));
    for measure in sd_benches::MEASURES {
        assert!(
            help.contains(measure.name) && help.contains(measure.about),
            "{help}"
        );
    }
}
