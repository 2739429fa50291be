//! What a registrar is doing.

use crate::registry::{Deregistered, Error, Key, LeaseId, Lost};
use bytes::Bytes;

/// What a [`Registrar`](crate::Registrar) is doing; see
/// [`Registrar::status`](crate::Registrar::status).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RegistrarStatus {
    /// It was not told to register yet.
    Idle,
    /// It registers, for as long as it takes.
    Registering {
        /// Which attempt is being made or waited for, from 1.
        attempt: u32,
        /// Why the attempt before failed.
        error: Option<Error>,
    },
    /// The entry stands.
    Registered {
        /// Where it stands.
        key: Key,
        /// The lease that it hangs on.
        lease: LeaseId,
        /// What keeps a [new value](crate::Registrar::update) from being written; it is tried
        /// again.
        error: Option<Error>,
    },
    /// The entry was lost and is being put back, for as long as it takes.
    Reclaiming {
        /// How it was lost.
        lost: Lost,
        /// Which attempt is being made or waited for, from 1.
        attempt: u32,
        /// Why the attempt before failed. Even what cannot pass by itself is tried again, at the
        /// longest delay.
        error: Option<Error>,
    },
    /// Somebody else holds the key. The registrar waits until it is free, unless it
    /// [retakes](crate::RegistrarBuilder::retake) it.
    Taken {
        /// The new owner's value.
        value: Bytes,
    },
    /// It announces draining or removes the entry.
    Deregistering,
    /// The entry was removed, or as much of that as is known.
    Deregistered(Deregistered),
    /// A later `register` of the same key on the same client holds the key now. It is not fought.
    Superseded,
    /// The registry refused for a reason that cannot pass.
    Failed(Error),
    /// The client was closed.
    Closed,
}

impl RegistrarStatus {
    /// Whether the entry stands.
    pub fn is_registered(&self) -> bool {
        matches!(self, Self::Registered { .. })
    }

    /// Whether `other` says the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let text = |error: &Option<Error>| error.as_ref().map(ToString::to_string);
        match (self, other) {
            (Self::Idle, Self::Idle)
            | (Self::Deregistering, Self::Deregistering)
            | (Self::Superseded, Self::Superseded)
            | (Self::Closed, Self::Closed) => true,
            (
                Self::Registering { attempt, error },
                Self::Registering {
                    attempt: other_attempt,
                    error: other_error,
                },
            ) => attempt == other_attempt && text(error) == text(other_error),
            (
                Self::Registered { key, lease, error },
                Self::Registered {
                    key: other_key,
                    lease: other_lease,
                    error: other_error,
                },
            ) => (key, lease) == (other_key, other_lease) && text(error) == text(other_error),
            (
                Self::Reclaiming {
                    lost,
                    attempt,
                    error,
                },
                Self::Reclaiming {
                    lost: other_lost,
                    attempt: other_attempt,
                    error: other_error,
                },
            ) => (lost, attempt) == (other_lost, other_attempt) && text(error) == text(other_error),
            (Self::Taken { value }, Self::Taken { value: other }) => value == other,
            (Self::Deregistered(what), Self::Deregistered(other)) => what == other,
            (Self::Failed(error), Self::Failed(other)) => error.to_string() == other.to_string(),
            _ => false,
        }
    }
}

/// What became of a [`Registrar::update`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// The entry has the new value.
    Written,
    /// The service is not registered at the moment: not yet, not any more, or lost and not yet put
    /// back. It gets the new value when it is.
    Remembered,
}
