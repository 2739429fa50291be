//! Own keys, watched: what others do to them is noticed at once, and not at the next verification.
//!
//! - `OwnKeys` is the index of all keys that the sessions of a client hold.
//! - `spans` says, without I/O, which watches cover them: one for each directory, from the least own key in it to
//!   the greatest.
//! - The `watcher` is a task. It keeps these watches on one `stream`, on the connection for leases.
//! - `Sightings` is what a session has not looked at yet: of each key only the newest modification.
//!
//! A sighting proves nothing. The session asks etcd what stands, at its own pace, and verifies regularly all the
//! same: so a watch that is denied, late or gone costs time and nothing else.

mod sightings;
mod spans;
mod stream;
mod watcher;

pub(super) use sightings::{Seen, Sightings};
pub(crate) use watcher::watch;

use bytes::Bytes;
use sd_core::ServiceKey;
use spans::{Span, spans};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The keys that a client holds, with their namespace.
#[derive(Default)]
pub(crate) struct OwnKeys {
    index: Mutex<Index>,
    /// For the watcher.
    changed: Notify,
}

#[derive(Default)]
struct Index {
    keys: BTreeMap<Bytes, Vec<Owned>>,
    last_id: u64,
}

struct Owned {
    id: u64,
    service: ServiceKey,
    /// The revision of our put.
    modified: i64,
    session: Arc<Sightings>,
    /// No watch has reported on it yet.
    is_new: bool,
}

/// Has a key watched, until it is dropped.
pub(super) struct OwnKey {
    all: Arc<OwnKeys>,
    key: Bytes,
    id: u64,
}

impl OwnKeys {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a key that a session has put at the revision `modified`.
    pub(super) fn enter(
        self: &Arc<Self>,
        key: Bytes,
        service: ServiceKey,
        modified: i64,
        session: Arc<Sightings>,
    ) -> OwnKey {
        let id = {
            let mut index = self.index();
            index.last_id += 1;
            let id = index.last_id;
            // Most keys have one owner.
            let owners = index.keys.entry(key.clone());
            owners.or_insert_with(|| Vec::with_capacity(1)).push(Owned {
                id,
                service,
                modified,
                session,
                is_new: true,
            });
            id
        };
        self.changed.notify_one();
        OwnKey {
            all: self.clone(),
            key,
            id,
        }
    }

    /// Returns the watches that cover all keys, by directory, and the id of the newest key among these.
    fn plan(&self) -> (BTreeMap<Vec<u8>, Span>, u64) {
        let index = self.index();
        let keys = index.keys.iter().map(|(key, owners)| {
            let new = owners.iter().filter(|it| it.is_new);
            (&key[..], new.map(|it| it.modified).min())
        });
        (spans(keys), index.last_id)
    }

    /// Notes that a watch reports on `span`, for all keys up to the one with this id.
    fn covered(&self, span: &Span, last_id: u64) {
        let mut index = self.index();
        for owned in index
            .keys
            .range_mut::<[u8], _>(span.range())
            .flat_map(|(_, it)| it)
        {
            owned.is_new &= owned.id > last_id;
        }
    }

    /// Tells the sessions that hold `key` of a change of it.
    fn sighted(&self, key: &[u8], modified: i64) {
        for owned in self.index().keys.get(key).into_iter().flatten() {
            owned.session.add(&owned.service, modified);
        }
    }

    /// Tells the sessions that hold keys in `span` that changes may have been missed.
    fn missed(&self, span: &Span) {
        for owned in self
            .index()
            .keys
            .range::<[u8], _>(span.range())
            .flat_map(|(_, it)| it)
        {
            owned.session.missed();
        }
    }
}

impl Drop for OwnKey {
    fn drop(&mut self) {
        let mut index = self.all.index();
        if let Some(owners) = index.keys.get_mut(&self.key) {
            owners.retain(|it| it.id != self.id);
            if owners.is_empty() {
                index.keys.remove(&self.key);
            }
        }
        drop(index);
        self.all.changed.notify_one();
    }
}
