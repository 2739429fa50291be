//! What a tenure is told, and what it answers.

use crate::registry::{Deregistered, Error, Key, LeaseId, Lost, Result};
use bytes::Bytes;

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The owner wants to be registered.
    Register,
    /// The owner has a new value.
    Update(Bytes),
    /// The owner wants to be registered no more.
    Deregister,
    /// [`Action::Register`] succeeded.
    Registered { key: Key, lease: LeaseId },
    /// [`Action::Register`] failed.
    RegisterFailed(Error),
    /// [`Action::Hold`] ended.
    Lost(Lost),
    /// [`Action::Reclaim`] succeeded.
    Reclaimed { key: Key, lease: LeaseId },
    /// [`Action::Reclaim`] found somebody else.
    Taken { value: Bytes },
    /// [`Action::Reclaim`] failed.
    ReclaimFailed(Error),
    /// [`Action::Deregister`] ended.
    Deregistered(Result<Deregistered>),
    /// The time of [`Tenure::timer`] has come.
    TimerFired,
}

/// What is to be under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing.
    Rest,
    /// Register with this value, whoever holds the key.
    Register(Bytes),
    /// Wait for the loss of the registration.
    Hold,
    /// Reclaim the registration with this value.
    Reclaim(Bytes),
    /// Deregister.
    Deregister,
}
