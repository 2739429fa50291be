//! The inputs and the actions of a [`RegistrationState`](super::RegistrationState).

use crate::registry::{Deregistered, Error, Generation, Key, LeaseId, Lost, Result};
use bytes::Bytes;

/// What has happened.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The owner asks to be registered, in this generation.
    Register(Generation),
    /// The owner has a new value.
    Update(Bytes),
    /// The owner asks to be deregistered.
    Deregister,
    /// The owner asks to be deregistered without draining.
    DeregisterNow,
    /// [`Action::Register`] has succeeded.
    Registered { key: Key, lease: LeaseId },
    /// [`Action::Register`] has failed.
    RegisterFailed(Error),
    /// [`Action::AwaitLoss`] has ended.
    Lost(Lost),
    /// [`Action::Reclaim`] has succeeded.
    Reclaimed { key: Key, lease: LeaseId },
    /// [`Action::Reclaim`] has found an entry of somebody else.
    Taken { value: Bytes },
    /// [`Action::Reclaim`] has failed.
    ReclaimFailed(Error),
    /// [`Action::Deregister`] has ended.
    Deregistered(Result<Deregistered>),
    /// The time of [`RegistrationState::timer`](super::RegistrationState::timer) has come.
    TimerFired,
}

/// What the registrar is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing, until the timer fires or the owner asks for something.
    Idle,
    /// Register with this value, whoever holds the key.
    Register(Bytes),
    /// Wait for the loss of the registration.
    AwaitLoss,
    /// Reclaim the registration with this value.
    Reclaim(Bytes),
    /// Deregister.
    Deregister,
}
