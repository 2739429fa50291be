//! One connection to one member of the cluster at a time.
//!
//! - [`Connector`] connects, makes requests, and moves to the next member when one fails.
//! - [`Failover`](failover::Failover) decides, without I/O: which member is next, after which pause,
//!   and whether a failure is worth a warning.
//! - [`Dialer`] makes the connections: it resolves names, reads certificates, and has each request
//!   show the token.
//! - [`Authenticator`] gets the token, for both connections of a client;
//!   [`AuthState`](auth_state::AuthState) decides when, without I/O.
//! - [`Members`] are the endpoints, which may change; [`follow_members`] learns them from the cluster.
//! - [`Turns`](turns::Turns) are for reads of which many are asked for at once: lists, and checks of watches that
//!   resume. What proves that etcd is alive, keep-alives and writes wait for no turn.
//!
//! Connections are numbered. A connection's `epoch` is its number, and the current one grows with
//! every connection that is given up: so a late failure of an old connection is told from a new one.
//!
//! A client has two connectors. Reads and watches use one, leases and writes the other, so that a
//! burst of changes does not delay a keep-alive. The watches of own keys are on the connection for leases: they bring
//! little, and a process that only registers needs no other connection for them.
//!
//! This room imports `config`, `errors` and `support`. `watching` and `registering` make their
//! requests through it.

mod auth_outcome;
mod auth_state;
mod authenticator;
mod channel;
mod connector;
mod dialer;
mod discovery;
mod failover;
mod latency;
mod limit;
mod members;
pub(crate) mod meters;
mod plain_text;
mod resolver;
mod turns;

pub(crate) use authenticator::Authenticator;
pub(crate) use connector::{CallError, Connector};
pub(crate) use dialer::Dialer;
pub(crate) use discovery::follow_members;
pub(crate) use limit::Limit;
pub(crate) use members::Members;
pub(crate) use plain_text::warn_of_plain_text;
