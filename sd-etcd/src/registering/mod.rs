//! Registrations and the leases that carry them.
//!
//! One [`session`] per client and TTL holds one lease for any number of services:
//!
//! - `Requests` is what the client and its registrations ask of a session.
//! - `SessionState`, without I/O, decides what to ask etcd next and what its answer means. Its parts
//!   are the `Ledger` of held registrations and the `PendingRemovals`.
//! - The session's task performs one `Action` at a time and hands its `Completion` back. Meanwhile it
//!   renews the lease through `KeepAlive`.
//! - `edits` changes single entries for whoever does not hold them.
//! - Every write is guarded by what is believed to stand under its key.
//! - `Strays` decides about keys on the lease that nobody holds.
//! - `OwnKeys` has the held keys watched, so that a session hears at once of what others do to them.
//! - Through `Contenders`, sessions know of each other's registrations of one service.
//!
//! This room imports `connection`, `config`, `errors` and `support`, and nothing of `watching`.

mod actions;
mod contenders;
pub(crate) mod edits;
mod keep_alive;
mod ledger;
pub(crate) mod meters;
pub(crate) mod own_keys;
mod removals;
mod requests;
mod service_map;
pub(crate) mod session;
mod shared;
mod state;
mod strays;
mod transaction;
mod write;

pub(crate) use requests::Requests;
pub(crate) use shared::Shared;
