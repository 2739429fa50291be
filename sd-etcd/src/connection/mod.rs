//! One connection to one member of the cluster at a time.
//!
//! - [`Connector`] connects, makes requests, and moves to the next member when one fails.
//! - [`Failover`](failover::Failover) decides, without I/O: which member is next, after which pause,
//!   and whether a failure is worth a warning.
//!
//! Connections are numbered. A connection's `epoch` is its number, and the current one grows with
//! every connection that is given up: so a late failure of an old connection is told from a new one.
//!
//! A client has two connectors. Reads and watches use one, leases and writes the other, so that a
//! burst of changes does not delay a keep-alive.
//!
//! This room imports `config`, `errors` and `support`. `watching` and `registering` make their
//! requests through it.

mod connector;
mod failover;
pub(crate) mod meters;

pub(crate) use connector::{CallError, Connector, after};
