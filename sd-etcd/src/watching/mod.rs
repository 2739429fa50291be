//! Listing and watching prefixes.
//!
//! - [`list`](list()) reads all entries of a prefix at one revision. `pages`, a state machine without I/O,
//!   decides what to ask for next.
//! - [`Requests`] opens watches, by asking the multiplexer for them.
//! - The [`multiplexer`] is a task. It owns the one watch stream of the client, and feeds each watch
//!   through a bounded buffer. It asks two state machines without I/O: `responses`, what a response does to
//!   the watches, and `liveness`, when to probe etcd and what its silence means.
//! - A `ResumeToken` is this backend's `Revision`. It carries a `Witness` of etcd's history, so that a
//!   watch does not resume on an etcd that was wiped or rolled back. What a watch has missed before it starts is
//!   read at once (`catch_up`).
//!
//! This room imports `connection`, `config`, `errors` and `support`, and nothing of `registering`.

mod active;
mod advance;
mod buffer;
mod catch_up;
mod changes;
mod entry;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod list;
mod liveness;
pub(crate) mod meters;
pub(crate) mod multiplexer;
mod page;
mod pages;
mod requests;
mod responses;
mod stream;
mod token;
mod watches;
mod witness;

pub(crate) use list::list;
pub(crate) use requests::Requests;
