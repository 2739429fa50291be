//! Lists: all entries under a prefix at one revision, page by page.

use super::{entry::entry, meters, page::check_page, token::ResumeToken, witness::Witness};
use crate::{
    config::Options,
    connection::{CallError, Connector},
    errors,
    support::{Share, count},
};
use etcd_client::{GetOptions, KeyValue};
use sd_core::{Entry, Error, Escaped, Gap, Prefix, Result, Snapshot, WatchError};
use tokio::time::Instant;

/// How often a list starts again because its revision was compacted meanwhile.
const MAX_STARTS: usize = 5;

pub(crate) async fn list(
    connector: &Connector,
    options: &Options,
    prefix: &Prefix,
) -> Result<Snapshot> {
    let start = options.namespace.full(prefix.as_str());
    let started_at = Instant::now();
    let mut page_size = options.page_size;
    for _ in 0..MAX_STARTS {
        match read_pages(connector, options, &start, &mut page_size, started_at).await {
            Ok((entries, cluster, revision)) => {
                let token = ResumeToken {
                    cluster,
                    revision,
                    prefix: start.as_slice().into(),
                    witness: Witness::among(&entries),
                };
                return Ok(snapshot(options, entries, token));
            }
            // Compacted between two pages, or the next page came from a member that is behind.
            Err(CallError::Etcd(error)) if errors::gap(&error).is_some() => {
                tracing::debug!(prefix = %Escaped(prefix), gap = ?errors::gap(&error), "listing anew");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Backend {
        message: format!(
            "the list was cut off {MAX_STARTS} times: {}",
            Gap::Compacted
        ),
        transient: true,
        source: None,
    })
}

/// Checks that this client may read `prefix`.
pub(super) async fn check_access(
    connector: &Connector,
    options: &Options,
    prefix: &Prefix,
) -> Result<(), WatchError> {
    let start = options.namespace.full(prefix.as_str());
    let get = GetOptions::new()
        .with_range(range_end(&start))
        .with_limit(1)
        .with_keys_only();
    connector
        .call("get", |connection| {
            let (start, get) = (start.clone(), get.clone());
            async move { connection.client.kv_client().get(start, Some(get)).await }
        })
        .await
        .map(drop)
        .map_err(|error| WatchError::Interrupted(error.into()))
}

/// Returns the entries, the id of the cluster, and the revision that they were read at.
///
/// A page that is too large to be read is asked for again with a quarter of its entries. Pages grow again
/// with each one that is read, so that a few large entries make no more than a few pages small.
async fn read_pages(
    connector: &Connector,
    options: &Options,
    start: &[u8],
    page_size: &mut i64,
    started_at: Instant,
) -> Result<(Vec<KeyValue>, u64, i64), CallError> {
    let end = range_end(start);
    let mut entries: Vec<KeyValue> = Vec::new();
    let mut bytes = 0;
    let mut held = Share::new(meters::LIST_BYTES);
    let mut read_at: Option<(u64, i64)> = None;
    loop {
        let from = match entries.last() {
            None => start.to_vec(),
            Some(last) => [last.key(), &[0]].concat(),
        };
        let asked = *page_size;
        let get = GetOptions::new()
            .with_range(end.clone())
            .with_limit(asked)
            .with_revision(read_at.map_or(0, |(_, revision)| revision));
        let limit = options.answer_limit(asked as usize);
        let answer = connector
            .call("get", |connection| {
                let (from, end, get) = (from.clone(), &end, get.clone());
                let kv = connection.client.kv_client();
                let mut kv = kv.max_decoding_message_size(limit);
                async move {
                    let page = kv.get(from.clone(), Some(get)).await?;
                    check_page(&page, &from, end, asked).map_err(errors::broken_answer)?;
                    Ok((connection.epoch, page))
                }
            })
            .await;
        let (epoch, mut answer) = match answer {
            Err(CallError::Etcd(error)) if errors::is_too_large(&error) && asked > 1 => {
                *page_size = (asked / 4).max(1);
                tracing::debug!(page = *page_size, "shrank the page, as it was too large");
                continue;
            }
            answer => answer?,
        };
        *page_size = (asked * 2).min(options.page_size);
        let unavailable = |message| Err(CallError::Other(Error::unavailable(message)));
        let Some(header) = answer.header() else {
            return unavailable("etcd answered without a header");
        };
        let now = (header.cluster_id(), header.revision());
        let (cluster, revision) = *read_at.get_or_insert(now);
        if cluster != now.0 {
            return unavailable("another cluster answered in the middle of a list");
        }
        let has_more = answer.more();
        let page = answer.take_kvs();
        bytes += page.iter().map(size).sum::<usize>();
        held.set(bytes);
        entries.extend(page);
        if bytes > options.max_list_bytes || entries.len() > options.max_list_entries {
            count(meters::LISTS_OVER_LIMIT, None, 1);
            return Err(CallError::Other(over_limit(options)));
        }
        if !has_more {
            return Ok((entries, cluster, revision));
        }
        if started_at.elapsed() >= options.list_timeout {
            let error = Error::Timeout {
                operation: "list",
                after: options.list_timeout,
            };
            connector.give_up(epoch, &error);
            return Err(CallError::Other(error));
        }
    }
}

/// The size of an entry in memory, in bytes.
fn size(entry: &KeyValue) -> usize {
    size_of::<KeyValue>() + entry.key().len() + entry.value().len()
}

fn over_limit(options: &Options) -> Error {
    Error::Backend {
        message: format!(
            "there is more under the prefix than {} entries or {} bytes, the limits of a list",
            options.max_list_entries, options.max_list_bytes
        ),
        transient: true,
        source: None,
    }
}

fn snapshot(options: &Options, raw: Vec<KeyValue>, token: ResumeToken) -> Snapshot {
    let count = raw.len();
    let entries: Vec<Entry> = raw
        .into_iter()
        .filter_map(|raw| entry(options, raw))
        .collect();
    let skipped = (count - entries.len()) as u64;
    Snapshot::new(entries, token.into_revision()).with_skipped(skipped)
}

/// Returns the end of the range of all keys that begin with `start`, as etcd's clients compute it.
fn range_end(start: &[u8]) -> Vec<u8> {
    let mut end = start.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // No key is greater: the range has no end.
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::cases;
    use etcd_client::proto::PbKeyValue;
    use proptest::prelude::*;

    #[test]
    fn a_range_ends_behind_its_prefix() {
        assert_eq!(range_end(b"/svc/foo/"), b"/svc/foo0");
        assert_eq!(range_end(b"a\xff"), b"b");
        assert_eq!(range_end(b"\xff\xff"), b"\0");
    }

    fn raw_key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(vec![b'/', b'a', b'b', 0, 0xfe, 0xff, 0xc3, 0xa9]);
        prop::collection::vec(byte, 0..4)
    }

    proptest! {
        #![proptest_config(cases(2))]

        #[test]
        fn a_range_holds_what_begins_with_its_prefix(prefix in raw_key(), key in raw_key()) {
            let end = range_end(&prefix);
            let in_range = key >= prefix && (end == [0] || key < end);
            prop_assert_eq!(in_range, key.starts_with(&prefix));
        }

        #[test]
        fn what_is_not_text_is_counted_and_hides_nobody(keys in prop::collection::vec(raw_key(), 0..5)) {
            let entries: Vec<_> = keys
                .iter()
                .map(|key| {
                    KeyValue(PbKeyValue {
                        key: key.clone(),
                        value: key.clone(),
                        mod_revision: 3,
                        ..PbKeyValue::default()
                    })
                })
                .collect();
            let token = ResumeToken {
                cluster: 1,
                revision: 3,
                prefix: [].into(),
                witness: Witness::among(&entries),
            };
            let listed = snapshot(&Options::unchecked(), entries, token.clone());
            let texts = keys.iter().filter_map(|key| std::str::from_utf8(key).ok());
            let texts: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
            let found: Vec<_> = listed.entries.iter().map(|entry| entry.key.as_str()).collect();
            prop_assert_eq!(&found, &texts);
            prop_assert_eq!(listed.skipped as usize, keys.len() - texts.len());
            prop_assert!(listed.entries.iter().all(|entry| entry.value == entry.key.as_str()));
            prop_assert_eq!(ResumeToken::of(&listed.revision).ok(), Some(&token));
        }
    }
}
