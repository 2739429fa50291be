//! Where it was measured.

use serde_json::{Value, json};
use std::{env, fs, num::NonZeroUsize, process::Command, thread};

/// A row about this machine, and the programs on it.
pub(super) fn row(quick: bool) -> Value {
    let said = |program: &str, argument: &str| {
        let said = Command::new(program).arg(argument).output();
        let said = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
        let line = said
            .ok()
            .and_then(|said| said.lines().next().map(str::to_owned));
        line.unwrap_or_default()
    };
    let after = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let etcd = env::var("ETCD_BIN").unwrap_or_else(|_| "etcd".to_owned());
    json!({
        "measure": "machine",
        "processor": after("/proc/cpuinfo", "model name"),
        "processors": thread::available_parallelism().map_or(1, NonZeroUsize::get),
        "memory": after("/proc/meminfo", "MemTotal"),
        "system": said("uname", "-sr"),
        "rustc": said("rustc", "--version"),
        "etcd": said(&etcd, "--version"),
        "quick": quick,
    })
}
