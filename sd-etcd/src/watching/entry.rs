//! Entries, as etcd writes them.

use crate::config::Options;
use etcd_client::KeyValue;
use sd_core::{Entry, Key, LeaseId};

/// The entry in `raw`. `None` if its key is outside of the namespace or not UTF-8.
pub(super) fn entry(options: &Options, raw: KeyValue) -> Option<Entry> {
    let key = key(options, raw.key())?;
    // 0 is no lease.
    let lease = (raw.lease() != 0).then(|| LeaseId::from(raw.lease()));
    let (_, value) = raw.into_key_value();
    Some(Entry::new(key, value).with_lease(lease))
}

/// The same for a key.
pub(super) fn key(options: &Options, raw: &[u8]) -> Option<Key> {
    Key::new(options.namespace.strip(raw)?).ok()
}
