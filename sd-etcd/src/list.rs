//! Lists: all entries under a prefix at one revision, page by page.

use crate::{
    config::Config,
    error,
    link::{Failure, Link},
    revision::{Token, Witness},
};
use etcd_client::{GetOptions, KeyValue};
use sd_core::{Entry, Error, Gap, Key, Prefix, Result, Snapshot, WatchError};

/// How often a list is begun anew because its revision was compacted under it.
const BEGINNINGS: usize = 5;
/// A page of several entries is not to keep the connection busy for longer than this takes, or a
/// slow network looks like a frozen member.
pub(crate) const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Every entry under `prefix`.
pub(crate) async fn list(link: &Link, config: &Config, prefix: &Prefix) -> Result<Snapshot> {
    let start = config.namespace.full(prefix.as_str());
    let mut page = config.page;
    for _ in 0..BEGINNINGS {
        match pages(link, config, &start, &mut page).await {
            Ok((entries, cluster, revision)) => {
                let token = Token {
                    cluster,
                    revision,
                    witness: Witness::among(&entries),
                };
                return Ok(snapshot(config, entries, token));
            }
            // Compacted between two pages, or another member that is behind: begin anew.
            Err(Failure::Etcd(error)) if error::gap(&error).is_some() => {
                tracing::debug!(%prefix, gap = ?error::gap(&error), "listing anew");
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(Error::Backend {
        message: format!(
            "the list was cut off {BEGINNINGS} times: {}",
            Gap::Compacted
        ),
        transient: true,
        source: None,
    })
}

/// Whether what is under `prefix` may be read at all.
pub(crate) async fn is_allowed(
    link: &Link,
    config: &Config,
    prefix: &Prefix,
) -> Result<(), WatchError> {
    let start = config.namespace.full(prefix.as_str());
    let options = GetOptions::new()
        .with_range(range_end(&start))
        .with_limit(1)
        .with_keys_only();
    let answer = link
        .call("get", async |connection| {
            connection
                .client
                .kv_client()
                .get(start, Some(options))
                .await
        })
        .await;
    match answer {
        Ok(_) => Ok(()),
        Err(failure) => Err(WatchError::Interrupted(failure.into())),
    }
}

async fn pages(
    link: &Link,
    config: &Config,
    start: &[u8],
    page: &mut i64,
) -> Result<(Vec<KeyValue>, u64, i64), Failure> {
    let end = range_end(start);
    let mut entries: Vec<KeyValue> = Vec::new();
    let mut at: Option<(u64, i64)> = None;
    loop {
        let from = match entries.last() {
            None => start.to_vec(),
            Some(last) => [last.key(), &[0]].concat(),
        };
        let options = GetOptions::new()
            .with_range(end.clone())
            .with_limit(*page)
            .with_revision(at.map_or(0, |(_, revision)| revision));
        let most = match *page {
            1 => config.max_message_bytes,
            _ => config.max_message_bytes.min(PAGE_BYTES),
        };
        let answer = link
            .call("get", async |connection| {
                connection
                    .client
                    .kv_client()
                    .max_decoding_message_size(most)
                    .get(from, Some(options))
                    .await
            })
            .await;
        let mut answer = match answer {
            Err(Failure::Etcd(error)) if error::is_too_large(&error) && *page > 1 => {
                *page = (*page / 2).max(1);
                tracing::debug!(page = *page, "halved the page, as it was too large");
                continue;
            }
            answer => answer?,
        };
        let Some(header) = answer.header() else {
            return Err(Failure::Other(Error::unavailable(
                "etcd answered without a header",
            )));
        };
        let now = (header.cluster_id(), header.revision());
        let at = *at.get_or_insert(now);
        if at.0 != now.0 {
            return Err(Failure::Other(Error::unavailable(
                "another cluster answered in the middle of a list",
            )));
        }
        let more = answer.more();
        let kvs = answer.take_kvs();
        let empty = kvs.is_empty();
        entries.extend(kvs);
        if !more || empty {
            return Ok((entries, at.0, at.1));
        }
    }
}

fn snapshot(config: &Config, raw: Vec<KeyValue>, token: Token) -> Snapshot {
    let count = raw.len();
    let entries: Vec<Entry> = raw
        .into_iter()
        .filter_map(|entry| {
            let key = Key::new(config.namespace.strip(entry.key())?).ok()?;
            let (_, value) = entry.into_key_value();
            Some(Entry::new(key, value))
        })
        .collect();
    let skipped = (count - entries.len()) as u64;
    Snapshot::new(entries, token.into_revision()).with_skipped(skipped)
}

/// The end of the range of all keys that begin with `start`, as etcd's clients compute it.
fn range_end(start: &[u8]) -> Vec<u8> {
    let mut end = start.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // Nothing lies behind: all keys from here on.
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
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
            let token = Token {
                cluster: 1,
                revision: 3,
                witness: Witness::among(&entries),
            };
            let listed = snapshot(&Config::unchecked(), entries, token.clone());
            let texts = keys.iter().filter_map(|key| std::str::from_utf8(key).ok());
            let texts: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
            let found: Vec<_> = listed.entries.iter().map(|entry| entry.key.as_str()).collect();
            prop_assert_eq!(&found, &texts);
            prop_assert_eq!(listed.skipped as usize, keys.len() - texts.len());
            prop_assert!(listed.entries.iter().all(|entry| entry.value == entry.key.as_str()));
            prop_assert_eq!(Token::of(&listed.revision).ok(), Some(&token));
        }
    }
}
