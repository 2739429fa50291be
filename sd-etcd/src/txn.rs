//! Transactions: many guarded writes in one round trip.
//!
//! A write that was given up may still be carried out, long after a later one was confirmed: it
//! waits in the socket of a frozen member, or etcd takes up in any order what it finds at a thaw.
//! So each says exactly what it believes to stand under its key, and does nothing where something
//! else does. Whoever is refused hears what stands, and may send it again with that belief.

use crate::link::{Failure, Link};
use bytes::Bytes;
use etcd_client::{
    Compare, CompareOp, PutOptions, Txn, TxnOp,
    proto::{PbTxnOpResponse, PbTxnResponse},
};
use sd_core::Error;
use std::time::Duration;

/// etcd-client's limit is 4 MiB; a hundred values that were found instead of ours can be more. Where
/// they are even more than this, each write goes by itself.
const ANSWER: usize = 64 * 1024 * 1024;

/// What has to be true of a key for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// There is no such key.
    Absent,
    /// It hangs on this lease with this modification.
    Stands { lease: i64, modified: i64 },
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

impl Found {
    /// That it still stands.
    pub(crate) fn guard(&self) -> Guard {
        Guard::Stands {
            lease: self.lease,
            modified: self.modified,
        }
    }
}

/// Bytes of a request that puts `value` under `key`, at most: the key stands in the put, in the
/// guard (twice, and with the lease's id at its end in some), in the look at who holds it, and
/// where its right is asked for.
pub(crate) fn size(key: &[u8], value: &[u8]) -> usize {
    const AROUND: usize = 512;
    5 * key.len() + value.len() + AROUND
}

impl Write {
    fn operation(self) -> TxnOp {
        let (key, guard, write) = match self {
            Self::Put {
                key,
                value,
                lease,
                guard,
            } => {
                let options = PutOptions::new().with_lease(lease);
                let put = TxnOp::put(key.clone(), value, Some(options));
                (key, guard, put)
            }
            Self::Delete { key, guard } => {
                let delete = TxnOp::delete(key.clone(), None);
                (key, guard, delete)
            }
        };
        // With the value, also where it is not wanted: of keys alone, 3.7 does not say the lease.
        TxnOp::txn(
            Txn::new()
                .when(guard.compares(&key))
                .and_then([write])
                .or_else([TxnOp::get(key, None)]),
        )
    }

    /// The same put as etcd checks its right.
    fn right(&self) -> Option<TxnOp> {
        match self {
            Self::Put { key, .. } => Some(TxnOp::put(key.clone(), "", None)),
            Self::Delete { .. } => None,
        }
    }
}

impl Guard {
    fn compares(self, key: &[u8]) -> Vec<Compare> {
        match self {
            Self::Absent => vec![Compare::create_revision(key, CompareOp::Equal, 0)],
            Self::Stands { lease, modified } => vec![
                Compare::lease(key, CompareOp::Equal, lease),
                Compare::mod_revision(key, CompareOp::Equal, modified),
            ],
        }
    }
}

/// Carries out all of `writes`, whose keys differ, at one revision; answers in their order, unless
/// `patience` is over before.
///
/// Most of etcd 3.4 to 3.6 checks no rights within nested transactions (GHSA-rfx7-8w68-q57q), but
/// those of both branches of the outer one. So the puts stand in its other branch too, without
/// their values, where they are checked and never carried out. Removals do not: what is ours may
/// go, whatever became of the rights.
pub(crate) async fn write(
    link: &Link,
    patience: impl Future<Output = Duration>,
    writes: Vec<Write>,
) -> Result<Vec<Written>, Failure> {
    let count = writes.len();
    let rights: Vec<TxnOp> = writes.iter().filter_map(Write::right).collect();
    let operations: Vec<TxnOp> = writes.into_iter().map(Write::operation).collect();
    let answer = link
        .call_with(patience, "txn", async |connection| {
            // Nothing is compared, which is always true.
            let txn = Txn::new().and_then(operations).or_else(rights);
            let kv = connection.client.kv_client();
            kv.max_decoding_message_size(ANSWER).txn(txn).await
        })
        .await?;
    read(answer.0, count)
        .ok_or_else(|| Failure::Other(Error::unavailable("etcd's answer does not fit the request")))
}

/// Reads `keys` as of now, in their order, if that takes no more than so many bytes.
pub(crate) async fn read_keys(
    link: &Link,
    most: usize,
    keys: Vec<Vec<u8>>,
) -> Result<Vec<Option<Found>>, Failure> {
    let count = keys.len();
    let operations: Vec<TxnOp> = keys.into_iter().map(|key| TxnOp::get(key, None)).collect();
    let answer = link
        .call("txn", async |connection| {
            let txn = Txn::new().and_then(operations);
            let kv = connection.client.kv_client();
            kv.max_decoding_message_size(most).txn(txn).await
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
            PbTxnOpResponse::ResponseTxn(nested) if nested.succeeded => {
                Some(Written::Done { revision })
            }
            PbTxnOpResponse::ResponseTxn(nested) => {
                let first = nested.responses.into_iter().next();
                Some(Written::Refused(
                    first.and_then(|response| found(response.response)),
                ))
            }
            PbTxnOpResponse::ResponsePut(_)
            | PbTxnOpResponse::ResponseRange(_)
            | PbTxnOpResponse::ResponseDeleteRange(_) => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
    use etcd_client::proto::{
        PbDeleteResponse, PbKeyValue, PbPutResponse, PbRangeResponse, PbResponseHeader,
        PbResponseOp,
    };
    use proptest::prelude::*;

    const REVISION: i64 = 7;

    /// The answer to one write, or what a broken server may say instead.
    #[derive(Debug, Clone)]
    enum Shape {
        Nothing,
        Put,
        Deleted,
        Range(Vec<Found>),
        Txn(bool, Vec<Shape>),
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let found =
            (any::<i64>(), any::<i64>(), "[a-z]{0,2}").prop_map(|(lease, modified, value)| Found {
                value: value.into(),
                lease,
                modified,
            });
        let leaf = prop_oneof![
            1 => Just(Shape::Nothing),
            1 => Just(Shape::Put),
            1 => Just(Shape::Deleted),
            4 => prop::collection::vec(found, 0..3).prop_map(Shape::Range),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let inner = prop::collection::vec(inner, 0..3);
            (any::<bool>(), inner).prop_map(|(succeeded, inner)| Shape::Txn(succeeded, inner))
        })
    }

    fn answer(shape: &Shape) -> PbResponseOp {
        let response = match shape {
            Shape::Nothing => None,
            Shape::Put => Some(PbTxnOpResponse::ResponsePut(PbPutResponse::default())),
            Shape::Deleted => Some(PbTxnOpResponse::ResponseDeleteRange(
                PbDeleteResponse::default(),
            )),
            Shape::Range(found) => Some(PbTxnOpResponse::ResponseRange(PbRangeResponse {
                kvs: found
                    .iter()
                    .map(|found| PbKeyValue {
                        value: found.value.to_vec(),
                        lease: found.lease,
                        mod_revision: found.modified,
                        ..PbKeyValue::default()
                    })
                    .collect(),
                ..PbRangeResponse::default()
            })),
            Shape::Txn(succeeded, inner) => {
                let mut nested = whole(inner, false);
                nested.succeeded = *succeeded;
                Some(PbTxnOpResponse::ResponseTxn(nested))
            }
        };
        PbResponseOp { response }
    }

    fn whole(shapes: &[Shape], headed: bool) -> PbTxnResponse {
        PbTxnResponse {
            header: headed.then(|| PbResponseHeader {
                revision: REVISION,
                ..PbResponseHeader::default()
            }),
            responses: shapes.iter().map(answer).collect(),
            ..PbTxnResponse::default()
        }
    }

    fn meaning(shape: &Shape) -> Option<Written> {
        let revision = REVISION;
        match shape {
            Shape::Txn(true, _) => Some(Written::Done { revision }),
            Shape::Txn(false, inner) => Some(Written::Refused(match inner.first() {
                Some(Shape::Range(found)) => found.first().cloned(),
                _ => None,
            })),
            Shape::Nothing | Shape::Put | Shape::Deleted | Shape::Range(_) => None,
        }
    }

    proptest! {
        #![proptest_config(cases(2))]

        #[test]
        fn an_answer_is_understood_as_a_whole_or_not_at_all(
            shapes in prop::collection::vec(shape(), 0..4),
            headed in prop::bool::weighted(0.9),
            missing in 0..6_usize,
        ) {
            let meanings: Option<Vec<_>> = shapes.iter().map(meaning).collect();
            let answer = whole(&shapes, headed);
            let expected = meanings.filter(|_| headed);
            prop_assert_eq!(read(answer.clone(), shapes.len()), expected);
            if missing != shapes.len() {
                prop_assert_eq!(read(answer, missing), None);
            }
        }
    }
}
