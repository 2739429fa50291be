//! The pages of a list, as a state machine without I/O: what to ask etcd for next, and what the entries
//! of the answers are together.
//!
//! A page that is too large to be read is asked for again with a quarter of its entries. Pages grow again
//! with each one that is read, so that a few large entries make no more than a few pages small.

use super::{entry::entry, meters, page::check_page, token::ResumeToken, witness::Witness};
use crate::{
    config::Options,
    support::{Share, count},
};
use etcd_client::{GetOptions, GetResponse, KeyValue};
use sd_core::{Entry, Error, Result, Snapshot};

pub(super) struct Pages<'o> {
    options: &'o Options,
    /// What the keys begin with.
    start: Vec<u8>,
    end: Vec<u8>,
    page_size: i64,
    /// Read of each page at once, so that what etcd sent is not held beside it.
    entries: Vec<Entry>,
    /// The keys that are not text.
    skipped: usize,
    /// The last key of the last page.
    last: Option<Vec<u8>>,
    witness: Witness,
    /// Of what was read.
    bytes: usize,
    /// The same, for all lists.
    held: Share,
    /// The cluster that answers, and the revision of the first page, which all others are of.
    read_at: Option<(u64, i64)>,
}

/// The page to ask for.
pub(super) struct PageRequest {
    /// The first key that it may have.
    pub(super) from: Vec<u8>,
    end: Vec<u8>,
    pub(super) limit: i64,
    revision: i64,
}

impl PageRequest {
    pub(super) fn options(&self) -> GetOptions {
        GetOptions::new()
            .with_range(self.end.clone())
            .with_limit(self.limit)
            .with_revision(self.revision)
    }

    /// Checks that `page` can be an answer to it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self, page: &GetResponse) -> Result<(), &'static str> {
        check_page(page, &self.from, &self.end, self.limit)
    }
}

impl<'o> Pages<'o> {
    /// The list of all keys that begin with `start`. Nothing of it is read yet.
    pub(super) fn new(options: &'o Options, start: Vec<u8>) -> Self {
        Self {
            options,
            end: range_end(&start),
            start,
            page_size: options.page_size,
            entries: Vec::new(),
            skipped: 0,
            last: None,
            witness: Witness::of_none(),
            bytes: 0,
            held: Share::new(meters::LIST_BYTES),
            read_at: None,
        }
    }

    /// Forgets what was read. The size of the pages stays.
    pub(super) fn restart(&mut self) {
        self.entries.clear();
        (self.skipped, self.last) = (0, None);
        self.witness = Witness::of_none();
        self.bytes = 0;
        self.held.set(0);
        self.read_at = None;
    }

    pub(super) fn next(&self) -> PageRequest {
        PageRequest {
            from: match &self.last {
                None => self.start.clone(),
                Some(last) => [&**last, &[0]].concat(),
            },
            end: self.end.clone(),
            limit: self.page_size,
            revision: self.read_at.map_or(0, |(_, revision)| revision),
        }
    }

    /// Notes that the page was too large to be read. Returns `false` if it can have no fewer entries.
    pub(super) fn shrink(&mut self) -> bool {
        let can_shrink = self.page_size > 1;
        if can_shrink {
            self.page_size = (self.page_size / 4).max(1);
            tracing::debug!(
                page = self.page_size,
                "shrank the page, as it was too large"
            );
        }
        can_shrink
    }

    /// Adds the page that [`next`](Self::next) asks for, once it is [checked](PageRequest::check).
    /// Returns whether there are more.
    ///
    /// # Errors
    /// [`Error::Backend`] if another cluster answered, or the list is over its limits.
    pub(super) fn add(&mut self, mut page: GetResponse) -> Result<bool> {
        self.page_size = self.page_size.saturating_mul(2).min(self.options.page_size);
        let Some(header) = page.header() else {
            return Err(Error::unavailable("etcd answered without a header"));
        };
        let now = (header.cluster_id(), header.revision());
        let (cluster, _) = *self.read_at.get_or_insert(now);
        if cluster != now.0 {
            return Err(Error::unavailable(
                "another cluster answered in the middle of a list",
            ));
        }
        let has_more = page.more();
        let raw = page.take_kvs();
        self.bytes += raw.iter().map(size).sum::<usize>();
        self.held.set(self.bytes);
        if self.bytes > self.options.max_list_bytes
            || self.entries.len() + self.skipped + raw.len() > self.options.max_list_entries
        {
            count(meters::LISTS_OVER_LIMIT, None, 1);
            return Err(over_limit(self.options));
        }
        self.witness.listed(&raw);
        if let Some(last) = raw.last() {
            self.last = Some(last.key().to_vec());
        }
        let (known, read) = (self.entries.len(), raw.len());
        let entries = raw.into_iter().filter_map(|raw| entry(self.options, raw));
        self.entries.extend(entries);
        self.skipped += known + read - self.entries.len();
        Ok(has_more)
    }

    /// All that was read.
    pub(super) fn into_snapshot(self) -> Snapshot {
        let (cluster, revision) = self.read_at.unwrap_or_default();
        let token = ResumeToken {
            cluster,
            revision,
            prefix: self.start.into(),
            witness: self.witness,
        };
        Snapshot::new(self.entries, token.into_revision()).with_skipped(self.skipped as u64)
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

/// Returns the end of the range of all keys that begin with `start`, as etcd's clients compute it.
pub(super) fn range_end(start: &[u8]) -> Vec<u8> {
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
    use etcd_client::proto::{PbKeyValue, PbRangeResponse, PbResponseHeader};
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
        fn what_is_not_text_is_counted_and_hides_nobody(
            keys in prop::collection::vec(raw_key(), 0..7),
            modified in prop::collection::vec(1..=3_i64, 1..7),
        ) {
            let kvs: Vec<_> = keys
                .iter()
                .zip(modified.iter().cycle())
                .map(|(key, modified)| PbKeyValue {
                    key: key.clone(),
                    value: key.clone(),
                    mod_revision: *modified,
                    ..PbKeyValue::default()
                })
                .collect();
            let token = ResumeToken {
                cluster: 1,
                revision: 3,
                prefix: b"/".as_slice().into(),
                witness: Witness::among(&kvs.iter().cloned().map(KeyValue).collect::<Vec<_>>()),
            };
            let options = Options::unchecked();
            let mut pages = Pages::new(&options, b"/".to_vec());
            for page in kvs.chunks(2) {
                let header = PbResponseHeader { cluster_id: 1, revision: 3, ..PbResponseHeader::default() };
                let page = PbRangeResponse { header: Some(header), kvs: page.to_vec(), ..PbRangeResponse::default() };
                pages.add(GetResponse(page)).unwrap();
            }
            if kvs.is_empty() {
                return Ok(());
            }
            let listed = pages.into_snapshot();
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
