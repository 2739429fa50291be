//! The contract with a registry.
//!
//! [`Client`] is the trait that a backend implements: etcd, memory, or your own. Most other files
//! are the types in its methods: keys and prefixes, entries and revisions, leases, watches ([`Gap`]
//! is in `watch`), registrations ([`Lost`] is in `registration`), errors. [`Poller`] turns a
//! registry that can only list into a client. [`Editor`] is for operators. [`Ledger`], [`Listing`], [`FormerLeases`] and
//! [`LostLeases`] help authors of backends.
//!
//! This room does not interpret values; `instances` does. It imports none of the other rooms.

mod client;
mod deregistered;
mod editor;
mod entry;
mod error;
mod error_chain;
mod escaped;
mod former_leases;
mod generation;
mod key;
mod lease;
mod lease_proof;
mod ledger;
mod listing;
mod lost_leases;
#[cfg(feature = "mock")]
mod mock;
mod owner;
mod poll;
mod prefix;
mod registration;
mod registration_id;
mod revision;
mod service;
mod watch;

pub use client::Client;
pub use deregistered::Deregistered;
pub use editor::{Editor, FencedEntry};
pub use entry::{Entry, Snapshot};
pub use error::{Cause, Error, Invalid, Result};
pub use error_chain::ErrorChain;
pub use escaped::Escaped;
pub(crate) use escaped::Message;
pub use former_leases::FormerLeases;
pub use generation::Generation;
pub use key::{Key, ServiceKey};
pub use lease::{LeaseId, Ttl};
pub(crate) use lease_proof::LeaseStatus;
pub use lease_proof::{LeaseProof, ProofSender, Unproven};
pub use ledger::{Call, Ledger, Removal};
pub use listing::Listing;
pub use lost_leases::LostLeases;
#[cfg(feature = "mock")]
pub use mock::MockClient;
pub use owner::Owner;
pub use poll::{Lister, Poller};
pub use prefix::Prefix;
pub use registration::{LossSender, Lost, NoReclaim, Reclaim, Reclaimed, Registration};
pub use registration_id::RegistrationId;
pub use revision::Revision;
pub use service::Service;
pub use watch::{Batch, Change, Gap, Watch, WatchError};
