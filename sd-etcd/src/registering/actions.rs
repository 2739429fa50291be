//! The requests that a session makes, one at a time.

use super::{
    ledger::HeldKey,
    requests::PutRequest,
    transaction,
    write::{Effect, Found, Guard, Write, Written},
};
use crate::{
    config::Options,
    connection::{CallError, Connector, Limit},
    errors,
};
use bytes::Bytes;
use etcd_client::{LeaseGrantOptions, LeaseTimeToLiveOptions, LeaseTimeToLiveResponse};
use sd_core::{Error, ErrorChain, Ttl};
use std::collections::HashSet;
use tokio_util::sync::CancellationToken;

pub(super) enum Action {
    /// Grant a lease with this id. The session draws it, so that it can revoke a lease whose grant is
    /// never answered.
    Grant(i64, Ttl),
    Write(WriteBatch),
    Revoke(i64),
    /// Ask for the lease, and for the keys on it if the answer is not too large for that.
    Verify(i64, Listing),
    /// Ask whether the keys have the modifications that we wrote.
    Compare(i64, Vec<HeldKey>),
    /// Read what stands under keys that have not.
    Examine(i64, Vec<HeldKey>),
}

pub(super) enum Completion {
    Granted(i64, Result<(), LeaseError>),
    Wrote(WriteBatch, Result<Vec<Written>, LeaseError>),
    Revoked(i64, Result<(), LeaseError>),
    /// `None` if the lease is gone.
    Verified(i64, Result<Option<LeaseState>, LeaseError>),
    /// The keys with another modification.
    Compared(i64, Vec<HeldKey>, Result<(), LeaseError>),
    /// What stands under those keys that could be read.
    Examined(i64, Vec<(HeldKey, Option<Found>)>, Result<(), LeaseError>),
}

/// Whether to ask for the keys on a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Keys,
    Nothing,
}

/// What etcd says of a lease.
#[derive(Debug)]
pub(super) struct LeaseState {
    /// The revision of the registry.
    pub(super) revision: i64,
    pub(super) keys: LeaseKeys,
}

/// The keys on a lease.
#[derive(Debug)]
pub(super) enum LeaseKeys {
    All(HashSet<Bytes>),
    NotAsked,
    /// They were asked for, and are more than this client reads.
    TooLarge,
}

/// What is written in one transaction. Keys include the namespace.
pub(super) enum WriteBatch {
    Puts { lease: i64, puts: Vec<GuardedPut> },
    Removals(Vec<(Bytes, Guard)>),
}

impl WriteBatch {
    pub(super) fn writes(&self) -> Vec<Write> {
        let write = |key: &Bytes, guard: &Guard, effect| Write {
            key: key.clone(),
            guard: *guard,
            effect,
        };
        match self {
            Self::Puts { lease, puts } => puts
                .iter()
                .map(|(put, key, guard)| match put.is_look {
                    true => write(key, guard, Effect::Look),
                    false => {
                        let (value, lease) = (put.request.value.clone(), *lease);
                        write(key, guard, Effect::Put { value, lease })
                    }
                })
                .collect(),
            Self::Removals(removals) => removals
                .iter()
                .map(|(key, guard)| write(key, guard, Effect::Delete))
                .collect(),
        }
    }
}

/// A put with its key, and what is believed to stand there.
pub(super) type GuardedPut = (QueuedPut, Bytes, Guard);

/// A put that is to be sent.
pub(super) struct QueuedPut {
    pub(super) request: PutRequest,
    /// What stood under the key when it was refused.
    pub(super) learned: Option<Guard>,
    pub(super) attempts: u32,
    /// Only asks whether the entry of somebody else still stands.
    pub(super) is_look: bool,
    /// It failed together with others, and is sent by itself.
    pub(super) is_alone: bool,
}

#[derive(Debug)]
pub(super) enum LeaseError {
    NotFound,
    AlreadyExists,
    Other(Error),
}

impl LeaseError {
    /// Whether this user may not do it.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Other(Error::PermissionDenied { .. }))
    }
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
                WriteBatch::Puts { .. } => transaction::write(connector, limit, &writes).await,
                WriteBatch::Removals(_) => {
                    let limit = Limit::after(options.short_timeout());
                    transaction::write(connector, limit, &writes).await
                }
            };
            Completion::Wrote(batch, written.map_err(LeaseError::from))
        }
        Action::Revoke(lease) => {
            Completion::Revoked(lease, revoke(connector, options, lease).await)
        }
        Action::Verify(lease, listing) => {
            Completion::Verified(lease, verify(connector, lease, listing).await)
        }
        Action::Compare(lease, keys) => {
            let (changed, result) = compare(connector, keys).await;
            Completion::Compared(lease, changed, result)
        }
        Action::Examine(lease, keys) => {
            let (found, result) = examine(connector, options, keys).await;
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

/// Asks for the lease, and for it alone if the keys on it are too large an answer: others may hang what
/// they like on it.
async fn verify(
    connector: &Connector,
    lease: i64,
    listing: Listing,
) -> Result<Option<LeaseState>, LeaseError> {
    let mut answer = ask_for_lease(connector, lease, listing).await;
    let is_too_large =
        matches!(&answer, Err(CallError::Etcd(error)) if errors::is_too_large(error));
    if is_too_large {
        answer = ask_for_lease(connector, lease, Listing::Nothing).await;
    }
    match answer.map_err(LeaseError::from) {
        // A lease that is gone has a TTL of -1.
        Ok(answer) if answer.ttl() < 0 => Ok(None),
        Ok(answer) => Ok(Some(LeaseState {
            revision: answer.header().map_or(0, |header| header.revision()),
            keys: match listing {
                _ if is_too_large => LeaseKeys::TooLarge,
                Listing::Keys => {
                    LeaseKeys::All(answer.0.keys.into_iter().map(Bytes::from).collect())
                }
                Listing::Nothing => LeaseKeys::NotAsked,
            },
        })),
        Err(LeaseError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn ask_for_lease(
    connector: &Connector,
    lease: i64,
    listing: Listing,
) -> Result<LeaseTimeToLiveResponse, CallError> {
    connector
        .call("lease time to live", |connection| async move {
            let keys = LeaseTimeToLiveOptions::new().with_keys();
            let mut leases = connection.client.lease_client();
            let options = (listing == Listing::Keys).then_some(keys);
            leases.time_to_live(lease, options).await
        })
        .await
}

/// Returns which of `keys` have another modification than ours, or none. Reads no values.
async fn compare(
    connector: &Connector,
    keys: Vec<HeldKey>,
) -> (Vec<HeldKey>, Result<(), LeaseError>) {
    let mut changed = Vec::new();
    let mut batches = Batches::new(&keys);
    while let Some(batch) = batches.next() {
        match changed_keys(connector, batch).await {
            Ok(keys) => {
                changed.extend(keys);
                batches.succeeded();
            }
            Err(error) => batches.failed(error.into()),
        }
    }
    (changed, batches.result)
}

async fn changed_keys(connector: &Connector, keys: &[HeldKey]) -> Result<Vec<HeldKey>, CallError> {
    if transaction::are_unchanged(connector, keys).await? {
        return Ok(Vec::new());
    }
    let modified = transaction::read_modifications(connector, keys).await?;
    let found = keys.iter().zip(modified);
    let changed = found.filter(|(held, modified)| Some(held.modified) != *modified);
    Ok(changed.map(|(held, _)| held.clone()).collect())
}

/// Reads what stands under `keys`.
async fn examine(
    connector: &Connector,
    options: &Options,
    keys: Vec<HeldKey>,
) -> (Vec<(HeldKey, Option<Found>)>, Result<(), LeaseError>) {
    let mut examined = Vec::with_capacity(keys.len());
    let mut batches = Batches::new(&keys);
    while let Some(batch) = batches.next() {
        let limit = options.answer_limit(batch.len());
        match transaction::read_keys(connector, limit, batch).await {
            Ok(found) => {
                examined.extend(batch.iter().cloned().zip(found));
                batches.succeeded();
            }
            Err(error) => batches.failed(error.into()),
        }
    }
    (examined, batches.result)
}

/// Keys that are read a batch at a time. Their values may be too large for one answer, and one key that
/// may not be read must not hide the others. So a failed batch is halved, and a key that fails by itself
/// is left out.
struct Batches<'a> {
    rest: &'a [HeldKey],
    size: usize,
    /// The last error.
    result: Result<(), LeaseError>,
}

impl<'a> Batches<'a> {
    fn new(keys: &'a [HeldKey]) -> Self {
        Self {
            rest: keys,
            size: keys.len(),
            result: Ok(()),
        }
    }

    fn next(&self) -> Option<&'a [HeldKey]> {
        let batch = &self.rest[..self.size.min(self.rest.len())];
        (!batch.is_empty()).then_some(batch)
    }

    fn succeeded(&mut self) {
        self.rest = &self.rest[self.size.min(self.rest.len())..];
    }

    fn failed(&mut self, error: Error) {
        let count = self.size.min(self.rest.len());
        tracing::debug!(keys = count, error = %ErrorChain(&error), "keys cannot be read");
        if error.is_transient() {
            self.rest = &[];
        } else if count > 1 {
            self.size = count / 2;
            return;
        }
        self.succeeded();
        self.result = Err(LeaseError::Other(error));
    }
}
