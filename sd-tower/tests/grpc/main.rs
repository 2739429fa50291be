//! Clients that tonic generated, through a channel, to real servers.
#![allow(clippy::unwrap_used, reason = "a test")]

mod clients;
mod deadlines;
mod endpoints;
mod fleet;
mod health;
mod kinds;
mod nothing_executed;
mod observed;
mod once;
mod outcomes;
mod raw_server;
mod ready;
mod restarts;
mod retries;
