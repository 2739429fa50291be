//! The phases of a registration.

use super::removal::Removal;
use crate::{
    provider::status::RegistrarStatus,
    registry::{Error, Key, LeaseId, Lost},
};
use bytes::Bytes;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing to do, for the reason that the status gives.
    Ended(RegistrarStatus),
    Registering {
        attempt: u32,
        error: Option<Error>,
    },
    /// The entry is in the registry; a newer value may be on its way.
    Registered {
        key: Key,
        lease: LeaseId,
        error: Option<Error>,
    },
    Reclaiming {
        lost: Lost,
        attempt: u32,
        error: Option<Error>,
    },
    Taken {
        value: Bytes,
        /// When to take the key back, if that is an option.
        retake_at: Option<Instant>,
    },
    Removing(Removal),
}

impl Phase {
    /// The first attempt to register.
    pub(super) fn first_attempt() -> Self {
        Self::Registering {
            attempt: 1,
            error: None,
        }
    }

    /// The status to publish, of an entry whose value is an `edit`. What the lease's proof says is not
    /// known here.
    pub(super) fn status(&self, edit: Option<&Bytes>) -> RegistrarStatus {
        match self {
            Self::Ended(status) => status.clone(),
            Self::Registering { attempt, error } => RegistrarStatus::Registering {
                attempt: *attempt,
                error: error.clone(),
            },
            Self::Registered { key, lease, error } => RegistrarStatus::Registered {
                key: key.clone(),
                lease: lease.clone(),
                ttl: None,
                unproven: None,
                unverified: None,
                error: error.clone(),
                edit: edit.cloned(),
            },
            Self::Reclaiming {
                lost,
                attempt,
                error,
            } => RegistrarStatus::Reclaiming {
                lost: lost.clone(),
                attempt: *attempt,
                error: error.clone(),
            },
            Self::Taken { value, .. } => RegistrarStatus::Taken {
                value: value.clone(),
            },
            Self::Removing(_) => RegistrarStatus::Deregistering,
        }
    }
}
