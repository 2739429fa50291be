//! The output of `balancing`.

mod shown;

use shown::shown;

const NAMES: [&str; 8] = [
    "round-robin",
    "random",
    "weighted ",
    "weighted-random",
    "consistent-hash",
    "least-loaded",
    "peak-ewma",
    "ejecting",
];

#[test]
fn every_balancer_goes_through_every_act() {
    let output = shown(env!("CARGO_BIN_EXE_balancing"), &["--seconds", "0.1"]);

    let (acts, table) = output.split_once("\n\np99").expect("a table");
    for name in NAMES {
        let shown = acts.lines().filter(|line| line.starts_with(name));
        assert_eq!(shown.count(), 5, "acts of {name} in\n{output}");
        let row = table.lines().find(|line| line.starts_with(name));
        let row = row.unwrap_or_else(|| panic!("no row of {name} in\n{output}"));
        assert_eq!(row.matches(" %").count(), 5, "{row}");
    }
}

#[test]
fn an_unknown_balancer_is_an_error_that_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_balancing"))
        .args(["--only", "heaviest"])
        .output()
        .expect("the program runs");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("there is no balancer \"heaviest\""),
        "{error}"
    );
}
