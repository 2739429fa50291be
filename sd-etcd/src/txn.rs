//! Transactions: many guarded writes in one round trip.

use crate::link::{Connection, Failure, Link};
use bytes::Bytes;
use etcd_client::{
    Compare, CompareOp, KvClient, PutOptions, Txn, TxnOp,
    proto::{PbTxnOpResponse, PbTxnResponse},
};
use sd_core::Error;
use std::time::Duration;

/// What has to be true of a key for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Nothing: whoever holds it.
    None,
    /// There is no such key.
    Absent,
    /// It hangs on this lease with this modification.
    Ours { lease: i64, modified: i64 },
    /// It hangs on this lease.
    OnLease(i64),
}

/// One write of a transaction, keys in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    Put {
        key: Vec<u8>,
        value: Bytes,
        lease: i64,
        guard: Guard,
    },
    Delete {
        key: Vec<u8>,
        guard: Guard,
    },
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// It happened, at this revision.
    Done { revision: i64 },
    /// The guard did not hold; what stands under the key instead.
    Refused(Option<Found>),
}

/// An entry as etcd holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) value: Bytes,
    pub(crate) lease: i64,
    pub(crate) modified: i64,
}

/// Bytes of a request that puts `value` under `key`, at most: the key stands in the put, in the
/// guard (twice, and with the lease's id at its end in some), and in the look at who holds it.
pub(crate) fn size(key: &[u8], value: &[u8]) -> usize {
    const AROUND: usize = 512;
    4 * key.len() + value.len() + AROUND
}

impl Write {
    fn operation(self) -> TxnOp {
        match self {
            Self::Put {
                key,
                value,
                lease,
                guard,
            } => {
                let put = TxnOp::put(
                    key.clone(),
                    value,
                    Some(PutOptions::new().with_lease(lease)),
                );
                match guard.compares(&key) {
                    None => put,
                    Some(compares) => TxnOp::txn(
                        Txn::new()
                            .when(compares)
                            .and_then([put])
                            .or_else([TxnOp::get(key, None)]),
                    ),
                }
            }
            Self::Delete { key, guard } => {
                let delete = TxnOp::delete(key.clone(), None);
                let compares = guard.compares(&key).unwrap_or_default();
                TxnOp::txn(Txn::new().when(compares).and_then([delete]))
            }
        }
    }
}

impl Guard {
    fn compares(self, key: &[u8]) -> Option<Vec<Compare>> {
        let on_lease = |lease| Compare::lease(key, CompareOp::Equal, lease);
        match self {
            Self::None => None,
            Self::Absent => Some(vec![Compare::create_revision(key, CompareOp::Equal, 0)]),
            Self::Ours { lease, modified } => Some(vec![
                on_lease(lease),
                Compare::mod_revision(key, CompareOp::Equal, modified),
            ]),
            Self::OnLease(lease) => Some(vec![on_lease(lease)]),
        }
    }
}

/// Carries out all of `writes`, whose keys differ, at one revision; answers in their order, within
/// this time.
pub(crate) async fn write(
    link: &Link,
    within: Duration,
    writes: Vec<Write>,
) -> Result<Vec<Written>, Failure> {
    let count = writes.len();
    let operations: Vec<TxnOp> = writes.into_iter().map(Write::operation).collect();
    let answer = link
        .call_within(within, "txn", async |connection| {
            let txn = Txn::new().and_then(operations);
            kv(&connection).txn(txn).await
        })
        .await?;
    read(answer.0, count)
        .ok_or_else(|| Failure::Other(Error::unavailable("etcd's answer does not fit the request")))
}

/// etcd-client's limit is 4 MiB; a hundred values that were found instead of ours can be more.
fn kv(connection: &Connection) -> KvClient {
    const ANSWER: usize = 64 * 1024 * 1024;
    let kv = connection.client.kv_client();
    kv.max_decoding_message_size(ANSWER)
}

/// Reads `keys` as of now, in their order.
pub(crate) async fn read_keys(
    link: &Link,
    keys: Vec<Vec<u8>>,
) -> Result<Vec<Option<Found>>, Failure> {
    let count = keys.len();
    let operations: Vec<TxnOp> = keys.into_iter().map(|key| TxnOp::get(key, None)).collect();
    let answer = link
        .call("txn", async |connection| {
            let txn = Txn::new().and_then(operations);
            kv(&connection).txn(txn).await
        })
        .await?;
    let found: Vec<Option<Found>> = answer
        .0
        .responses
        .into_iter()
        .map(|response| found(response.response))
        .collect();
    if found.len() == count {
        Ok(found)
    } else {
        Err(Failure::Other(Error::unavailable(
            "etcd's answer does not fit the request",
        )))
    }
}

/// `op_responses()` of `etcd-client` 0.21 panics on an answer without content, so this reads it
/// itself.
fn read(answer: PbTxnResponse, count: usize) -> Option<Vec<Written>> {
    let revision = answer.header.as_ref()?.revision;
    let written: Option<Vec<Written>> = answer
        .responses
        .into_iter()
        .map(|response| match response.response? {
            PbTxnOpResponse::ResponsePut(_) => Some(Written::Done { revision }),
            PbTxnOpResponse::ResponseTxn(nested) if nested.succeeded => {
                Some(Written::Done { revision })
            }
            PbTxnOpResponse::ResponseTxn(nested) => {
                let first = nested.responses.into_iter().next();
                Some(Written::Refused(
                    first.and_then(|response| found(response.response)),
                ))
            }
            PbTxnOpResponse::ResponseRange(_) | PbTxnOpResponse::ResponseDeleteRange(_) => None,
        })
        .collect();
    written.filter(|written| written.len() == count)
}

fn found(response: Option<PbTxnOpResponse>) -> Option<Found> {
    match response? {
        PbTxnOpResponse::ResponseRange(range) => {
            let entry = range.kvs.into_iter().next()?;
            Some(Found {
                value: entry.value.into(),
                lease: entry.lease,
                modified: entry.mod_revision,
            })
        }
        _ => None,
    }
}
