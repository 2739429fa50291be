//! Connections to real servers on real sockets, and their faults.
#![allow(clippy::unwrap_used)]

mod client;
mod connector;
mod dialing;
mod goaway;
mod http2;
mod server;
mod tls;

use client::*;
use server::{Proxy, Server, Silent};
