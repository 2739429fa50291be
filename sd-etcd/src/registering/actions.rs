//! The requests that a session makes, one at a time.

use super::{
    ledger::Missing,
    requests::PutRequest,
    transaction,
    write::{Found, Guard, Write, Written},
};
use crate::{
    config::Options,
    connection::{CallError, Connector, Limit},
    errors,
};
use etcd_client::{LeaseGrantOptions, LeaseTimeToLiveOptions};
use sd_core::{Error, Ttl};
use std::collections::{HashSet, VecDeque};
use tokio_util::sync::CancellationToken;

pub(super) enum Action {
    /// Grant a lease with this id. The session draws it, so that it can revoke a lease whose grant is
    /// never answered.
    Grant(i64, Ttl),
    Write(WriteBatch),
    Revoke(i64),
    /// Read which keys are on the lease.
    Verify(i64),
    /// Read what stands under keys that are missing from the lease.
    Examine(i64, Vec<Missing>),
}

pub(super) enum Completion {
    Granted(i64, Result<(), LeaseError>),
    Wrote(WriteBatch, Result<Vec<Written>, LeaseError>),
    Revoked(i64, Result<(), LeaseError>),
    /// All keys on the lease. `None` if it is gone.
    Verified(i64, Result<Option<HashSet<Vec<u8>>>, LeaseError>),
    /// What stands under those keys that could be read.
    Examined(i64, Vec<(Missing, Option<Found>)>, Result<(), LeaseError>),
}

/// What is written in one transaction. Keys include the namespace.
pub(super) enum WriteBatch {
    Puts {
        lease: i64,
        puts: Vec<(QueuedPut, Vec<u8>, Guard)>,
    },
    Removals(Vec<(Vec<u8>, Guard)>),
}

impl WriteBatch {
    pub(super) fn writes(&self) -> Vec<Write> {
        match self {
            Self::Puts { lease, puts } => puts
                .iter()
                .map(|(put, key, guard)| Write::Put {
                    key: key.clone(),
                    value: put.request.value.clone(),
                    lease: *lease,
                    guard: *guard,
                })
                .collect(),
            Self::Removals(removals) => removals
                .iter()
                .map(|(key, guard)| Write::Delete {
                    key: key.clone(),
                    guard: *guard,
                })
                .collect(),
        }
    }
}

/// A put that is to be sent.
pub(super) struct QueuedPut {
    pub(super) request: PutRequest,
    /// What stood under the key when it was refused.
    pub(super) learned: Option<Guard>,
    pub(super) attempts: u32,
    /// It failed together with others, and is sent by itself.
    pub(super) is_alone: bool,
}

#[derive(Debug)]
pub(super) enum LeaseError {
    NotFound,
    AlreadyExists,
    Other(Error),
}

impl From<CallError> for LeaseError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Etcd(error) if errors::is_lease_not_found(&error) => Self::NotFound,
            CallError::Etcd(error) if errors::is_lease_exists(&error) => Self::AlreadyExists,
            error => Self::Other(error.into()),
        }
    }
}

impl From<LeaseError> for Error {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::NotFound => Self::unavailable("the lease is gone"),
            LeaseError::AlreadyExists => Self::unavailable("another lease has this id"),
            LeaseError::Other(error) => error,
        }
    }
}

/// Performs an action.
///
/// `give_up` fails it as if it had timed out, so that the next goes to another member. Whether an
/// action that is dropped or given up took effect is unknown.
pub(super) async fn perform(
    connector: &Connector,
    options: &Options,
    action: Action,
    give_up: CancellationToken,
) -> Completion {
    let limit = Limit::after(options.request_timeout).or(give_up);
    match action {
        Action::Grant(lease, ttl) => {
            let granted = grant(connector, limit, lease, ttl).await;
            Completion::Granted(lease, granted)
        }
        Action::Write(batch) => {
            let writes = batch.writes();
            let written = match batch {
                WriteBatch::Puts { .. } => transaction::write(connector, limit, writes).await,
                WriteBatch::Removals(_) => {
                    let limit = Limit::after(options.short_timeout());
                    transaction::write(connector, limit, writes).await
                }
            };
            Completion::Wrote(batch, written.map_err(LeaseError::from))
        }
        Action::Revoke(lease) => {
            Completion::Revoked(lease, revoke(connector, options, lease).await)
        }
        Action::Verify(lease) => Completion::Verified(lease, verify(connector, lease).await),
        Action::Examine(lease, missing) => {
            let (found, result) = examine(connector, options, missing).await;
            Completion::Examined(lease, found, result)
        }
    }
}

async fn grant(
    connector: &Connector,
    limit: Limit,
    lease: i64,
    ttl: Ttl,
) -> Result<(), LeaseError> {
    let seconds = i64::from(ttl.as_secs());
    let granted = connector
        .call_within(limit, "lease grant", |connection| async move {
            let options = LeaseGrantOptions::new().with_id(lease);
            let mut leases = connection.client.lease_client();
            leases.grant(seconds, Some(options)).await
        })
        .await;
    granted.map(drop).map_err(LeaseError::from)
}

pub(super) async fn revoke(
    connector: &Connector,
    options: &Options,
    lease: i64,
) -> Result<(), LeaseError> {
    let limit = Limit::after(options.short_timeout());
    let revoked = connector
        .call_within(limit, "lease revoke", |connection| async move {
            connection.client.lease_client().revoke(lease).await
        })
        .await;
    revoked.map(drop).map_err(LeaseError::from)
}

/// With `etcd-client` 0.21 the answer may have 4 MiB. A lease with more, which is 80,000 keys of 50
/// bytes, cannot be verified. That is logged like a missing right.
async fn verify(connector: &Connector, lease: i64) -> Result<Option<HashSet<Vec<u8>>>, LeaseError> {
    let answer = connector
        .call("lease time to live", |connection| async move {
            let options = LeaseTimeToLiveOptions::new().with_keys();
            let mut leases = connection.client.lease_client();
            leases.time_to_live(lease, Some(options)).await
        })
        .await;
    match answer.map_err(LeaseError::from) {
        // A lease that is gone has a TTL of -1.
        Ok(answer) if answer.ttl() < 0 => Ok(None),
        Ok(answer) => Ok(Some(answer.0.keys.into_iter().collect())),
        Err(LeaseError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads what stands under missing keys. The values may be too large for one answer, and one key
/// that may not be read must not hide the others. So a failed batch is halved, and a key that fails
/// by itself is left out.
async fn examine(
    connector: &Connector,
    options: &Options,
    missing: Vec<Missing>,
) -> (Vec<(Missing, Option<Found>)>, Result<(), LeaseError>) {
    let mut examined = Vec::with_capacity(missing.len());
    let mut batch = missing.len();
    let mut rest = VecDeque::from(missing);
    while !rest.is_empty() {
        let count = batch.min(rest.len());
        let keys = rest.iter().take(count).map(|missing| missing.key.clone());
        let limit = options.answer_limit(count);
        let error = match transaction::read_keys(connector, limit, keys.collect()).await {
            Ok(found) => {
                examined.extend(rest.drain(..count).zip(found));
                continue;
            }
            Err(error) => Error::from(error),
        };
        if error.is_transient() {
            return (examined, Err(LeaseError::Other(error)));
        }
        tracing::debug!(keys = count, %error, "missing keys cannot be read");
        match count {
            1 => drop(rest.pop_front()),
            _ => batch = count / 2,
        }
    }
    (examined, Ok(()))
}
