//! Transactions: many guarded writes in one round trip.

use super::{
    ledger::HeldKey,
    write::{self, Found, Write, Written},
};
use crate::{
    connection::{CallError, Connector, Limit},
    errors,
};
use etcd_client::{
    Compare, CompareOp, GetOptions, Txn, TxnOp,
    proto::{PbTxnOpResponse, PbTxnResponse},
};
use sd_core::Error;

/// The largest answer that is read. `etcd-client`'s default is 4 MiB, and 125 values that were
/// found instead of ours can be more. Where they are more than this, each write goes by itself.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Carries out `writes` at one revision, each request of it within `limit`. etcd refuses all of them
/// if two have the same key. Returns the outcomes in the same order.
///
/// Mostly every guard holds, so it is tried with all of them as the conditions of one flat
/// transaction first: that is less work, and the answer is half as long. If one does not hold, nothing
/// has happened, and each write goes with its own.
pub(super) async fn write(
    connector: &Connector,
    limit: Limit,
    writes: &[Write],
) -> Result<Vec<Written>, CallError> {
    match write_together(connector, limit.clone(), writes).await? {
        Some(revision) => Ok(vec![Written::Done { revision }; writes.len()]),
        None => write_each(connector, limit, writes).await,
    }
}

/// Carries out all or none of `writes`. Returns the revision, or `None` if nothing happened and each may
/// be tried by itself.
async fn write_together(
    connector: &Connector,
    limit: Limit,
    writes: &[Write],
) -> Result<Option<i64>, CallError> {
    if !write::fit_together(writes) {
        return Ok(None);
    }
    let answer = connector
        .call_within(limit, "txn", |connection| {
            let txn = write::together(writes);
            async move { connection.client.kv_client().txn(txn).await }
        })
        .await;
    match answer {
        Ok(answer) if !answer.succeeded() => Ok(None),
        Ok(answer) => {
            let header = answer.header().ok_or_else(misfit)?;
            Ok(Some(header.revision()))
        }
        // Its conditions read the keys, which this user need not be allowed to.
        Err(CallError::Etcd(error)) if errors::is_refused(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Carries out each of `writes` whose guard holds, and reads what stands in place of the others.
///
/// Most of etcd 3.4 to 3.6 checks no rights within nested transactions (GHSA-rfx7-8w68-q57q), but
/// checks those of both branches of the outer one. So the puts also stand in its other branch,
/// without their values, where they are checked and never carried out. Removals do not: a key of
/// ours may go, whatever became of the rights.
async fn write_each(
    connector: &Connector,
    limit: Limit,
    writes: &[Write],
) -> Result<Vec<Written>, CallError> {
    let answer = connector
        .call_within(limit, "txn", |connection| {
            let operations: Vec<_> = writes.iter().map(Write::operation).collect();
            let checks: Vec<_> = writes.iter().filter_map(Write::access_check).collect();
            // Without conditions the first branch is taken.
            let txn = Txn::new().and_then(operations).or_else(checks);
            let kv = connection.client.kv_client();
            async move { kv.max_decoding_message_size(MAX_ANSWER).txn(txn).await }
        })
        .await?;
    decode(answer.0, writes.len()).ok_or_else(misfit)
}

/// Reads `keys`, in their order, if the answer has no more than `limit` bytes.
pub(super) async fn read_keys(
    connector: &Connector,
    limit: usize,
    keys: &[HeldKey],
) -> Result<Vec<Option<Found>>, CallError> {
    read(connector, Some(limit), keys, None).await
}

async fn read(
    connector: &Connector,
    limit: Option<usize>,
    keys: &[HeldKey],
    options: Option<GetOptions>,
) -> Result<Vec<Option<Found>>, CallError> {
    let get = |held: &HeldKey| TxnOp::get(&held.key[..], options.clone());
    let answer = connector
        .call("txn", |connection| {
            let txn = Txn::new().and_then(keys.iter().map(get).collect::<Vec<_>>());
            let kv = connection.client.kv_client();
            let mut kv = match limit {
                Some(limit) => kv.max_decoding_message_size(limit),
                None => kv,
            };
            async move { kv.txn(txn).await }
        })
        .await?;
    let responses = answer.0.responses.into_iter();
    let found: Vec<_> = responses.map(|response| found(response.response)).collect();
    match found.len() == keys.len() {
        true => Ok(found),
        false => Err(misfit()),
    }
}

/// Whether each key has the modification that we wrote. The answer is a few bytes.
pub(super) async fn are_unchanged(
    connector: &Connector,
    keys: &[HeldKey],
) -> Result<bool, CallError> {
    let is_same =
        |held: &HeldKey| Compare::mod_revision(&held.key[..], CompareOp::Equal, held.modified);
    let answer = connector
        .call("txn", |connection| {
            let txn = Txn::new().when(keys.iter().map(is_same).collect::<Vec<_>>());
            async move { connection.client.kv_client().txn(txn).await }
        })
        .await?;
    Ok(answer.succeeded())
}

/// Reads the modifications of `keys`, in their order. `None` where there is no such key.
pub(super) async fn read_modifications(
    connector: &Connector,
    keys: &[HeldKey],
) -> Result<Vec<Option<i64>>, CallError> {
    let options = GetOptions::new().with_keys_only();
    let found = read(connector, None, keys, Some(options)).await?;
    let modified = |found: Option<Found>| found.map(|found| found.modified);
    Ok(found.into_iter().map(modified).collect())
}

fn misfit() -> CallError {
    CallError::Other(Error::unavailable("etcd's answer does not fit the request"))
}

/// Returns the outcomes of `count` writes, or `None` if the answer does not fit. `op_responses()` of
/// `etcd-client` 0.21 panics on an answer without content, so it is not used.
fn decode(answer: PbTxnResponse, count: usize) -> Option<Vec<Written>> {
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
    use crate::support::cases;
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
            prop_assert_eq!(decode(answer.clone(), shapes.len()), expected);
            if missing != shapes.len() {
                prop_assert_eq!(decode(answer, missing), None);
            }
        }
    }
}
