//! The toolkit beside the real programs of other frameworks, in Go, on a real etcd: both register, and both look.
//!
//! `./run interop` builds the programs in `interop/` and runs these tests; elsewhere they are ignored, since they need
//! Go. `INTEROP_PEERS` names the folder of the built programs.
//!
//! - `framework`: the frameworks in a table, with what is known of their consumers.
//! - `history`: what a consumer has shown since it was started, whether it is in Go or ours.
//! - `peer`: a program in Go, registered or looking. `consumer`: one of ours that looks.
//! - `both_ways`: every format: seen, changed, drained, deregistered, killed.
//! - `neighbours`: what is written in one format, beside the consumers of all others.
//! - `moves`: fleets that move under load; the steps are those of `docs/migration.md`.

mod both_ways;
mod consumer;
mod framework;
mod history;
mod load;
mod moves;
mod neighbours;
mod peer;

/// The name of the service in every test.
const SERVICE: &str = "svc";
