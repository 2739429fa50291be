//! How far a tenure has come.

use crate::{
    provider::status::RegistrarStatus,
    registry::{Error, Key, LeaseId, Lost},
};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// How far it has come.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing to do, for the reason that the status gives.
    Ended(RegistrarStatus),
    Registering {
        attempt: u32,
        error: Option<Error>,
    },
    /// Holding, or writing a newer value.
    Held {
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
        retake_at: Option<Instant>,
    },
    Announcing {
        deadline: Instant,
    },
    Draining {
        /// How long removing may take.
        removal: Duration,
    },
    Removing,
}

impl State {
    /// What to tell the world.
    pub(super) fn status(&self) -> RegistrarStatus {
        match self {
            Self::Ended(status) => status.clone(),
            Self::Registering { attempt, error } => RegistrarStatus::Registering {
                attempt: *attempt,
                error: error.clone(),
            },
            Self::Held { key, lease, error } => RegistrarStatus::Registered {
                key: key.clone(),
                lease: lease.clone(),
                error: error.clone(),
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
            Self::Announcing { .. } | Self::Draining { .. } | Self::Removing => {
                RegistrarStatus::Deregistering
            }
        }
    }
}
