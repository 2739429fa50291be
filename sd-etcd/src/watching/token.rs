//! Resume tokens: where a watch resumes, and how it knows that the history is still the same.
//!
//! A wiped etcd with the same flags has the same cluster id, member id and raft term (3.4 to 3.7).
//! A watch from a revision that it has not reached waits silently. Once its counter has passed that
//! revision, the watch resumes and misses all that happened before. So a token carries a witness: a
//! fact that is true of the known history, and hardly of another.

use crate::{
    config::Options,
    connection::{CallError, Connector},
    errors,
};
use etcd_client::{GetOptions, GetResponse, KeyValue};
use sd_core::{Gap, Revision, WatchError};
use std::sync::Arc;

/// What a [`Revision`] of this backend carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResumeToken {
    pub(super) cluster: u64,
    /// All changes up to this revision are known.
    pub(super) revision: i64,
    pub(super) witness: Witness,
}

/// A fact of the history up to a token's revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Witness {
    /// The prefix was empty. If it still is, the mirror is right whatever the history.
    Nothing,
    /// This key had this modification on this lease.
    Key {
        key: Arc<[u8]>,
        modified: i64,
        lease: i64,
        /// The last revision of which that is true. `None` while the key stands.
        until: Option<i64>,
    },
}

impl Witness {
    /// Returns the newest of `entries`: the later a witness, the fewer histories it fits.
    pub(super) fn among(entries: &[KeyValue]) -> Self {
        let newest = entries.iter().max_by_key(|entry| entry.mod_revision());
        newest.map_or(Self::Nothing, |entry| {
            Self::put(entry.key().into(), entry.mod_revision(), entry.lease())
        })
    }

    pub(super) fn put(key: Arc<[u8]>, modified: i64, lease: i64) -> Self {
        Self::Key {
            key,
            modified,
            lease,
            until: None,
        }
    }

    /// Notes that `deleted` was deleted at `revision`. A witness of that key stays one for the
    /// revisions before.
    pub(super) fn deleted(&mut self, deleted: &[u8], revision: i64) {
        if let Self::Key { key, until, .. } = self
            && until.is_none()
            && **key == *deleted
        {
            *until = Some(revision - 1);
        }
    }

    /// Whether etcd's answer to [`request`](Position::request) confirms it.
    fn is_confirmed(&self, answer: &GetResponse) -> bool {
        let entry = answer.kvs().first();
        match self {
            Self::Nothing => entry.is_none(),
            Self::Key {
                modified, lease, ..
            } => entry
                .is_some_and(|entry| entry.mod_revision() == *modified && entry.lease() == *lease),
        }
    }
}

impl ResumeToken {
    pub(super) fn into_revision(self) -> Revision {
        Revision::new(self)
    }

    /// Orders tokens by how much they tell of the history.
    pub(super) fn rank(&self) -> (bool, i64) {
        (self.witness != Witness::Nothing, self.revision)
    }

    /// Returns the token in `revision`.
    ///
    /// # Errors
    /// [`Gap::ForeignToken`] if it is not of this backend.
    pub(super) fn of(revision: &Revision) -> Result<&Self, WatchError> {
        revision
            .downcast_ref()
            .ok_or(WatchError::Gap(Gap::ForeignToken))
    }
}

/// Where a watch is: the prefix of its keys, namespace included, and what it knows of their history.
#[derive(Clone)]
pub(super) struct Position {
    pub(super) start: Vec<u8>,
    pub(super) token: ResumeToken,
}

impl Position {
    /// Asks etcd whether the witness is true.
    ///
    /// Call it while the watch is open, and check afterwards that it is still open on the same
    /// connection: then the process that answered is the one that is watched.
    ///
    /// # Errors
    /// [`WatchError::Gap`] if the history is another one, [`WatchError::Interrupted`] if etcd did
    /// not answer.
    pub(super) async fn verify(
        &self,
        connector: &Connector,
        options: &Options,
    ) -> Result<(), WatchError> {
        let (key, get) = self.request();
        let answer = connector
            .call("get", |connection| {
                let (key, get) = (key.clone(), get.clone());
                let kv = connection.client.kv_client();
                let mut kv = kv.max_decoding_message_size(options.max_message_bytes);
                async move { kv.get(key, Some(get)).await }
            })
            .await
            .map_err(|error| match error {
                CallError::Etcd(error) => match errors::gap(&error) {
                    Some(gap) => WatchError::Gap(gap),
                    None => WatchError::Interrupted(errors::translate(error)),
                },
                CallError::Other(error) => WatchError::Interrupted(error),
            })?;
        let rebuilt = |why: &str| Err(WatchError::Gap(Gap::Rebuilt(why.into())));
        let cluster = answer.header().map_or(0, |header| header.cluster_id());
        if cluster != self.token.cluster {
            return rebuilt("it is another cluster");
        }
        if !self.token.witness.is_confirmed(&answer) {
            return rebuilt("what we knew of its history is not true of it");
        }
        Ok(())
    }

    fn request(&self) -> (Vec<u8>, GetOptions) {
        let get = GetOptions::new();
        match &self.token.witness {
            Witness::Nothing => {
                let get = get.with_prefix().with_keys_only().with_limit(1);
                (self.start.clone(), get.with_revision(self.token.revision))
            }
            // With its value: for keys alone 3.7 answers from its index, which knows no leases.
            Witness::Key { key, until, .. } => {
                let revision = until.unwrap_or(self.token.revision);
                (key.to_vec(), get.with_revision(revision))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_witness_still_speaks_for_the_time_before() {
        let mut witness = Witness::put((*b"a").into(), 5, 7);
        witness.deleted(b"b", 6);
        assert_eq!(witness, Witness::put((*b"a").into(), 5, 7));
        witness.deleted(b"a", 9);
        witness.deleted(b"a", 12);
        let Witness::Key { until, .. } = witness else {
            panic!("a witness stays one");
        };
        assert_eq!(until, Some(8));
    }

    #[test]
    fn the_token_of_another_backend_is_a_gap() {
        let foreign = Revision::new(7_i64);
        let gap = ResumeToken::of(&foreign).unwrap_err();
        assert!(matches!(gap, WatchError::Gap(Gap::ForeignToken)));
    }
}
