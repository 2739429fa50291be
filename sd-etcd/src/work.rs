//! Work: the calls that a session makes, one at a time.

use crate::{
    config::Config,
    error,
    ledger::Missing,
    link::{Failure, Link},
    list::PAGE_BYTES,
    tenancy::Item,
    txn::{self, Found, Write, Written},
};
use etcd_client::{LeaseGrantOptions, LeaseTimeToLiveOptions};
use futures::FutureExt;
use sd_core::{Error, Ttl};
use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// One call, and all that it needs.
pub(crate) enum Task {
    /// With an id of our own choosing, so that it can be revoked even if that is never answered.
    Grant {
        lease: i64,
        ttl: Ttl,
    },
    /// Puts on `lease`, or removals.
    Write {
        lease: i64,
        items: Vec<Item>,
        writes: Vec<Write>,
    },
    Revoke {
        lease: i64,
    },
    /// Asks what hangs on it.
    Verify {
        lease: i64,
    },
    /// Asks what stands where something is missing.
    Examine {
        lease: i64,
        missing: Vec<Missing>,
    },
}

/// What came of it.
pub(crate) enum Done {
    Granted(i64, Result<(), Trouble>),
    Wrote(i64, Vec<Item>, Result<Vec<Written>, Trouble>),
    Revoked(i64, Result<(), Trouble>),
    /// All keys on the lease; `None` if it is gone.
    Verified(i64, Result<Option<HashSet<Vec<u8>>>, Trouble>),
    /// What stands under those that could be looked at.
    Examined(i64, Vec<(Missing, Option<Found>)>, Result<(), Trouble>),
}

/// Why a call failed, as far as it matters what to do next.
#[derive(Debug)]
pub(crate) enum Trouble {
    NoSuchLease,
    LeaseExists,
    Other(Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Etcd(error) if error::is_lease_not_found(&error) => Self::NoSuchLease,
            Failure::Etcd(error) if error::is_lease_exists(&error) => Self::LeaseExists,
            failure => Self::Other(failure.into()),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoSuchLease => Self::unavailable("the lease is gone"),
            Trouble::LeaseExists => Self::unavailable("another lease has this id"),
            Trouble::Other(error) => error,
        }
    }
}

/// Makes the call. Whether one that is dropped took effect is unknown, as is that of one that fails
/// because it was to `give_up`; but then the next goes to another member.
pub(crate) async fn perform(
    link: &Link,
    config: &Config,
    task: Task,
    give_up: CancellationToken,
) -> Done {
    let patience = patience(config, give_up);
    match task {
        Task::Grant { lease, ttl } => {
            let granted = grant(link, patience, lease, ttl).await;
            Done::Granted(lease, granted)
        }
        Task::Write {
            lease,
            items,
            writes,
        } => {
            let removes = items.iter().any(|item| matches!(item, Item::Leave(..)));
            let written = if removes {
                let brief = config.brief();
                txn::write(link, sleep(brief).map(|()| brief), writes).await
            } else {
                txn::write(link, patience, writes).await
            };
            Done::Wrote(lease, items, written.map_err(Trouble::from))
        }
        Task::Revoke { lease } => Done::Revoked(lease, revoke(link, config, lease).await),
        Task::Verify { lease } => Done::Verified(lease, verify(link, lease).await),
        Task::Examine { lease, missing } => {
            let (known, result) = examine(link, config, missing).await;
            Done::Examined(lease, known, result)
        }
    }
}

/// Lasts for as long as a request may take, or until it is to be given up.
async fn patience(config: &Config, give_up: CancellationToken) -> Duration {
    let begun = Instant::now();
    match timeout(config.request_timeout, give_up.cancelled()).await {
        Ok(()) => Duration::from_millis(begun.elapsed().as_millis() as u64),
        Err(_) => config.request_timeout,
    }
}

async fn grant(
    link: &Link,
    patience: impl Future<Output = Duration>,
    lease: i64,
    ttl: Ttl,
) -> Result<(), Trouble> {
    let seconds = i64::from(ttl.as_secs());
    let granted = link
        .call_with(patience, "lease grant", async |connection| {
            let options = LeaseGrantOptions::new().with_id(lease);
            let mut leases = connection.client.lease_client();
            leases.grant(seconds, Some(options)).await
        })
        .await;
    granted.map(|_| ()).map_err(Trouble::from)
}

pub(crate) async fn revoke(link: &Link, config: &Config, lease: i64) -> Result<(), Trouble> {
    let revoked = link
        .call_within(config.brief(), "lease revoke", async |connection| {
            connection.client.lease_client().revoke(lease).await
        })
        .await;
    revoked.map(|_| ()).map_err(Trouble::from)
}

/// As of `etcd-client` 0.21 the answer may have 4 MiB: more than that (80,000 keys of 50 bytes on one
/// lease) cannot be verified, which is logged like a missing right.
async fn verify(link: &Link, lease: i64) -> Result<Option<HashSet<Vec<u8>>>, Trouble> {
    let found = link
        .call("lease time to live", async |connection| {
            let options = LeaseTimeToLiveOptions::new().with_keys();
            let mut leases = connection.client.lease_client();
            leases.time_to_live(lease, Some(options)).await
        })
        .await;
    match found.map_err(Trouble::from) {
        // A lease that is gone has a TTL of -1.
        Ok(found) if found.ttl() < 0 => Ok(None),
        Ok(found) => Ok(Some(found.0.keys.into_iter().collect())),
        Err(Trouble::NoSuchLease) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// What is there instead may be too large for one answer, and one key that may not be read is not
/// to hide what became of the others: they are asked for in ever smaller company, and those left
/// out that cannot be read at all.
async fn examine(
    link: &Link,
    config: &Config,
    missing: Vec<Missing>,
) -> (Vec<(Missing, Option<Found>)>, Result<(), Trouble>) {
    let mut known = Vec::with_capacity(missing.len());
    let mut most = missing.len();
    let mut rest = VecDeque::from(missing);
    while !rest.is_empty() {
        let some = most.min(rest.len());
        let bytes = match some {
            1 => config.max_message_bytes,
            _ => config.max_message_bytes.min(PAGE_BYTES),
        };
        let keys = rest.iter().take(some).map(|missing| missing.key.clone());
        let error = match txn::read_keys(link, bytes, keys.collect()).await {
            Ok(found) => {
                known.extend(rest.drain(..some).zip(found));
                continue;
            }
            Err(failure) => Error::from(failure),
        };
        if error.is_transient() {
            return (known, Err(Trouble::Other(error)));
        }
        tracing::debug!(keys = some, %error, "missing keys cannot be read");
        match some {
            1 => drop(rest.pop_front()),
            _ => most = some / 2,
        }
    }
    (known, Ok(()))
}
