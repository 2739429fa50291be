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

/// The rows of a measure, and the balancer that they are about.
fn rows(measure: &str) -> Vec<(String, Value)> {
    let (exit, lines, told) = run(bench().args([measure, "--json", "--quick", "--rounds", "1"]));
    assert_eq!(exit, Some(0), "{told}");
    lines
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            assert_eq!(row["measure"], measure);
            let balancer = row["balancer"].as_str().unwrap_or_default();
            (balancer.to_owned(), row)
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
    let mut rows = rows("builds");
    rows.retain(|(_, row)| row["table"] != "comparison");
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
    let pieces: Vec<_> = rows
        .iter()
        .filter_map(|(_, row)| row["piece"].as_str())
        .collect();
    assert_eq!(pieces, sd_benches::PIECES.map(|piece| piece.name()));
}

#[test]
fn what_is_to_be_reached_stands_beside_its_floor_on_an_etcd_that_is_started_for_it() {
    let rows = rows("first-change");
    let compared = rows.iter().filter(|(_, row)| row["table"] == "comparison");
    let compared: Vec<_> = compared.map(|(_, row)| row).collect();
    assert_eq!(compared.len(), 2);
    for row in compared {
        for key in ["toolkit", "floor", "ratio"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key} of {row}");
        }
        assert_eq!(row["target"], "≤ 2000 µs");
        assert!(["yes", "no"].contains(&row["reached"].as_str().unwrap()));
    }
}

#[test]
fn results_are_written_into_the_page_with_plots_beside_it() {
    let docs = tempfile::tempdir().unwrap();
    let page = docs.path().join("performance.md");
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
    std::fs::copy(template, &page).unwrap();
    let (exit, shown, told) = run(bench()
        .args(["first-change", "--quick", "--write"])
        .arg(docs.path()));
    assert_eq!(exit, Some(0), "{told}");
    assert!(shown.contains("what is to be reached"), "{shown}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains("| `first-change` | a change right after ready, p50 |"),
        "{page}"
    );
    assert!(page.contains("Measured with `--quick`, on "), "{page}");
    let results = std::fs::read_to_string(docs.path().join("performance/results.jsonl")).unwrap();
    assert!(results.lines().count() > 3, "{results}");
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
