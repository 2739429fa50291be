//! What tests of this room share: keys, entries and changes under one prefix.

use crate::{
    instances::Event,
    registry::{Change, Entry, Key, Prefix},
};

pub(super) fn prefix() -> Prefix {
    Prefix::new("/svc").unwrap()
}

pub(super) fn key(name: &str) -> Key {
    prefix().key(name).unwrap()
}

pub(super) fn entry(name: &str, value: impl Into<String>) -> Entry {
    Entry::new(key(name), value.into())
}

pub(super) fn put(name: &str) -> Change {
    Change::Put(entry(name, "h:1"))
}

pub(super) fn delete(name: &str) -> Change {
    Change::Delete(key(name))
}

/// The names of all that is shown.
pub(super) fn names(event: &Event) -> Vec<&str> {
    let keys = event.instances().iter();
    keys.map(|instance| name(instance.key().as_str())).collect()
}

/// The names of those that are held.
pub(super) fn held(event: &Event) -> Vec<&str> {
    event.held().map(|(held, _)| name(held.key())).collect()
}

fn name(key: &str) -> &str {
    key.strip_prefix(prefix().as_str()).unwrap()
}
