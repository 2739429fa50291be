//! HTTP services, to real servers on real sockets.
#![allow(clippy::unwrap_used, reason = "a test")]

mod client;
mod connections;
mod in_process;
mod limits;
mod observed;
mod requests;
#[cfg(feature = "reqwest")]
mod reqwest_service;
mod retries;
mod server;
mod services;
mod tls;
mod upgrades;
