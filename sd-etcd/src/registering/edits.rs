//! Changes of single entries by whoever does not hold them, fenced by what was read.

use super::write::{self, Guard};
use crate::{config::Options, connection::Connector};
use bytes::Bytes;
use etcd_client::{PutOptions, Txn, TxnOp};
use sd_core::{Entry, Error, FencedEntry, Invalid, Key, LeaseId, Result, Revision};

/// What the [`Revision`] of a fence carries: the lease and the modification of the entry.
#[derive(Debug, PartialEq, Eq)]
struct Fence(Guard);

pub(crate) async fn read(
    connector: &Connector,
    options: &Options,
    key: &Key,
) -> Result<Option<FencedEntry>> {
    let full = options.namespace.full(key.as_str());
    let answer = connector
        .call("get", |connection| {
            let full = full.clone();
            let kv = connection.client.kv_client();
            let mut kv = kv.max_decoding_message_size(options.answer_limit(1));
            async move { kv.get(full, None).await }
        })
        .await?;
    Ok(answer.kvs().first().map(|found| {
        let (lease, modified) = (found.lease(), found.mod_revision());
        let entry = Entry::new(key.clone(), found.value().to_vec())
            // 0 is no lease.
            .with_lease((lease != 0).then(|| LeaseId::from(lease)));
        let fence = Fence(Guard::Stands { lease, modified });
        FencedEntry::new(entry, Revision::new(fence))
    }))
}

/// Puts `value` on the lease that the entry is on.
pub(crate) async fn replace(
    connector: &Connector,
    options: &Options,
    read: &FencedEntry,
    value: Bytes,
) -> Result<bool> {
    let key = options.namespace.full(read.entry.key.as_str());
    let size = write::max_size(&key, &value);
    let limit = options.max_request_bytes;
    if size > limit {
        let key = read.entry.key.as_str().chars().take(64).collect();
        return Err(Invalid::TooLarge { key, size, limit }.into());
    }
    let put = TxnOp::put(key, value, Some(PutOptions::new().with_ignore_lease()));
    change(connector, options, read, put).await
}

pub(crate) async fn delete(
    connector: &Connector,
    options: &Options,
    read: &FencedEntry,
) -> Result<bool> {
    let key = options.namespace.full(read.entry.key.as_str());
    change(connector, options, read, TxnOp::delete(key, None)).await
}

/// Carries `operation` out if the entry is as it was read.
async fn change(
    connector: &Connector,
    options: &Options,
    read: &FencedEntry,
    operation: TxnOp,
) -> Result<bool> {
    let Some(Fence(guard)) = read.fence.downcast_ref() else {
        return Err(Error::permanent("the entry was read by another backend"));
    };
    let key = options.namespace.full(read.entry.key.as_str());
    let conditions: Vec<_> = guard.conditions(&key).collect();
    let answer = connector
        .call("txn", |connection| {
            let txn = Txn::new().when(conditions.clone());
            let txn = txn.and_then([operation.clone()]);
            async move { connection.client.kv_client().txn(txn).await }
        })
        .await?;
    Ok(answer.succeeded())
}
