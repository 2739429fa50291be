//! The workspace's `rust-version` is recent enough for its dependencies.

use serde_json::Value;
use std::{collections::BTreeMap, process::Command};

/// `1.88` as `(1, 88, 0)`.
fn parsed(version: &str) -> (u32, u32, u32) {
    let mut numbers = version.split('.').map(|it| it.parse().expect("a number"));
    let mut next = || numbers.next().unwrap_or_default();
    (next(), next(), next())
}

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO")).args(arguments).output();
    let output = output.expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {error}");
    output.stdout
}

/// Every package in the build on this platform, with its `rust-version`, if it has one. Needs no
/// network, since the packages have just been built.
fn packages() -> BTreeMap<String, Option<String>> {
    let version = String::from_utf8(cargo(&["-vV"])).expect("text");
    let mut lines = version.lines();
    let host = lines.find_map(|line| line.strip_prefix("host: "));
    let metadata = cargo(&[
        "metadata",
        "--format-version=1",
        "--locked",
        "--offline",
        "--all-features",
        "--filter-platform",
        host.expect("a host"),
    ]);
    let metadata: Value = serde_json::from_slice(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let described = packages.iter().map(|package| {
        let (name, version) = (&package["name"], &package["version"]);
        let rust_version = package["rust_version"].as_str().map(str::to_owned);
        (format!("{name} {version}").replace('"', ""), rust_version)
    });
    described.collect()
}

#[test]
fn no_dependency_asks_for_a_newer_rust_than_the_workspace() {
    let ours = parsed(env!("CARGO_PKG_RUST_VERSION"));
    let packages = packages();
    assert!(packages.len() > 100, "{} packages", packages.len());

    let newer: Vec<_> = packages
        .iter()
        .filter(|(_, needed)| needed.as_deref().is_some_and(|it| parsed(it) > ours))
        .collect();

    assert!(newer.is_empty(), "newer than {ours:?}: {newer:?}");
}
