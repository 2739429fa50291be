//! The commands, run as an operator runs them, on real etcd processes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bench_fleet;
mod calls;
mod copy;
mod doctor;
mod edits;
mod help;
mod interop;
mod list;
mod run;
mod settings;
mod support;
mod terminal;
mod watch;
