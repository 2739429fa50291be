//! The inputs and the actions of a [`RegistrationState`](super::RegistrationState).

use crate::{
    instances::Edit,
    provider::key_value::KeyValue,
    registry::{Deregistered, Error, Generation, Key, LeaseId, Lost, Result, ServiceKey},
};
use bytes::Bytes;

/// What has happened.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The owner asks to be registered, in this generation.
    Register(Generation),
    /// The owner wants this in the registry from now on.
    Update {
        wanted: KeyValue,
        /// What it said in so many words, also where that is no change.
        said: Vec<Edit>,
    },
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
    /// [`Action::EndFormer`] has ended.
    FormerEnded(Result<Deregistered>),
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
    /// Register under this key with this value, whoever holds the key.
    Register(KeyValue),
    /// Wait for the loss of the registration.
    AwaitLoss,
    /// Reclaim the registration with this value.
    Reclaim(Bytes),
    /// Deregister what the registration has left under these keys, and keep it under the one that it is held under.
    EndFormer(Vec<ServiceKey>),
    /// Deregister under all these keys.
    Deregister(Vec<ServiceKey>),
}
