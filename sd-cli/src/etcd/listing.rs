//! Entries with their revisions, page by page, as of one revision.

use super::Etcd;
use crate::{failure::Outcome, output::Progress};
use bytes::Bytes;
use etcd_client::{GetOptions, KeyValue};
use sd_core::{Entry, Key, LeaseId};

const PAGE: i64 = 5_000;
/// What follows every key that there is.
const END: &[u8] = b"\0";

/// An entry as etcd has it.
#[derive(Debug, Clone)]
pub(crate) struct RawEntry {
    /// Without the namespace.
    pub(crate) entry: Entry,
    /// The revision of the put that created it.
    pub(crate) created: i64,
    /// The revision of its last put.
    pub(crate) modified: i64,
    /// How often it was put since it was created.
    pub(crate) puts: i64,
    /// Its lease, as etcd numbers it; 0 if it has none.
    pub(crate) lease: i64,
}

/// All entries below a prefix as of one revision.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<RawEntry>,
    pub(crate) revision: i64,
    /// The keys that are no text.
    pub(crate) unreadable_keys: u64,
}

impl Etcd {
    /// All entries whose keys begin with `prefix`; all of the namespace if that is `None`.
    pub(crate) async fn list(&self, prefix: Option<&str>) -> Outcome<Listing> {
        let start = self.key(prefix.unwrap_or_default());
        let end = end_of(&start);
        let mut from = match start.is_empty() {
            true => b"\0".to_vec(),
            false => start,
        };
        let mut kv = self
            .client()
            .kv_client()
            .max_decoding_message_size(usize::MAX);
        let mut listing = Listing::default();
        let mut progress = Progress::new("listed");
        loop {
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(PAGE)
                .with_revision(listing.revision);
            let mut page = kv.get(from, Some(options)).await?;
            if listing.revision == 0 {
                listing.revision = page.header().map_or(0, |header| header.revision());
                listing
                    .entries
                    .reserve(usize::try_from(page.count()).unwrap_or_default());
            }
            let more = page.more();
            let kvs = page.take_kvs();
            let last = kvs.last().map(|kv| [kv.key(), b"\0"].concat());
            for kv in kvs {
                match self.entry_of(kv) {
                    Some(entry) => listing.entries.push(entry),
                    None => listing.unreadable_keys += 1,
                }
            }
            progress.at(listing.entries.len());
            match last {
                Some(last) if more => from = last,
                _ => return Ok(listing),
            }
        }
    }

    /// The entry under `key`, and the revision of etcd.
    pub(crate) async fn entry(&self, key: &str) -> Outcome<(Option<RawEntry>, i64)> {
        let mut kv = self
            .client()
            .kv_client()
            .max_decoding_message_size(usize::MAX);
        let mut answer = kv.get(self.key(key), None).await?;
        let revision = answer.header().map_or(0, |header| header.revision());
        let entry = answer.take_kvs().pop().and_then(|kv| self.entry_of(kv));
        Ok((entry, revision))
    }

    fn entry_of(&self, kv: KeyValue) -> Option<RawEntry> {
        let (created, modified) = (kv.create_revision(), kv.mod_revision());
        let (puts, lease) = (kv.version(), kv.lease());
        let (key, value) = kv.into_key_value();
        let key = String::from_utf8(key).ok()?;
        let key = Key::new(key.strip_prefix(&self.namespace)?).ok()?;
        let on = (lease != 0).then(|| LeaseId::from(lease));
        let entry = Entry::new(key, Bytes::from(value)).with_lease(on);
        Some(RawEntry {
            entry,
            created,
            modified,
            puts,
            lease,
        })
    }
}

/// The first key that does not begin with `prefix`.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    END.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_before_what_begins_otherwise() {
        assert_eq!(end_of(b"/svc/"), b"/svc0");
        assert_eq!(end_of(b"a\xff"), b"b");
        assert_eq!(end_of(b""), END);
        assert_eq!(end_of(b"\xff"), END);
    }
}
