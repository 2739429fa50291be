//! The resume token: where a watch goes on, and how it knows that the history is still the one it
//! knew.
//!
//! A wiped etcd with the same flags has the same cluster id, member id and raft term (3.4 to 3.7).
//! A watch from a revision that it has not reached waits silently; once its counter has passed
//! ours, the watch resumes and is blind to all that happened before. So a token carries a witness:
//! something that is true of our history and would hardly be true of another.

use crate::{
    config::Config,
    error,
    link::{Failure, Link},
};
use etcd_client::{GetOptions, KeyValue};
use sd_core::{Gap, Revision, WatchError};
use std::sync::Arc;

/// What a [`Revision`] of this backend carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) cluster: u64,
    /// All changes up to this one are known.
    pub(crate) revision: i64,
    pub(crate) witness: Witness,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Witness {
    /// There was nothing under the prefix as of the token's revision. Where that is still so, the
    /// mirror is right whatever the history.
    Nothing,
    /// This key had this modification on this lease.
    Key {
        key: Arc<[u8]>,
        modified: i64,
        lease: i64,
        /// The last revision of which that is true; `None` while it is.
        until: Option<i64>,
    },
}

impl Witness {
    /// The newest of `entries`: the later the witness, the less of another history it fits.
    pub(crate) fn among(entries: &[KeyValue]) -> Self {
        entries
            .iter()
            .max_by_key(|entry| entry.mod_revision())
            .map_or(Self::Nothing, |entry| {
                Self::put(entry.key().into(), entry.mod_revision(), entry.lease())
            })
    }

    pub(crate) fn put(key: Arc<[u8]>, modified: i64, lease: i64) -> Self {
        Self::Key {
            key,
            modified,
            lease,
            until: None,
        }
    }

    /// Takes note that `deleted` went at `revision`: what was true before stays true of before.
    pub(crate) fn deleted(&mut self, deleted: &[u8], revision: i64) {
        if let Self::Key { key, until, .. } = self
            && until.is_none()
            && **key == *deleted
        {
            *until = Some(revision - 1);
        }
    }
}

impl Token {
    pub(crate) fn into_revision(self) -> Revision {
        Revision::new(self)
    }

    /// The more, the more it tells of the history.
    pub(crate) fn rank(&self) -> (bool, i64) {
        (self.witness != Witness::Nothing, self.revision)
    }

    /// The token in `revision`, if one of this backend is in it.
    pub(crate) fn of(revision: &Revision) -> Result<&Self, WatchError> {
        revision
            .downcast_ref()
            .ok_or(WatchError::Gap(Gap::ForeignToken))
    }

    /// Asks the registry on the other end of `link` for the witness, which speaks for the keys that
    /// begin with `start`. Has to be called while a
    /// stream to it is open, and the stream still has to be open afterwards: then the process that
    /// answered is the one that the stream watches.
    ///
    /// # Errors
    /// [`WatchError::Gap`] if its history is another, [`WatchError::Interrupted`] if it did not
    /// answer.
    pub(crate) async fn verify(
        &self,
        link: &Link,
        config: &Config,
        start: Vec<u8>,
    ) -> Result<(), WatchError> {
        let (key, options) = match &self.witness {
            Witness::Nothing => (
                start,
                GetOptions::new()
                    .with_prefix()
                    .with_keys_only()
                    .with_limit(1)
                    .with_revision(self.revision),
            ),
            Witness::Key { key, until, .. } => (
                key.to_vec(),
                // With its value: 3.7 answers for keys alone from its index, which knows no leases.
                GetOptions::new().with_revision(until.unwrap_or(self.revision)),
            ),
        };
        let answer = link
            .call("get", async |connection| {
                connection
                    .client
                    .kv_client()
                    .max_decoding_message_size(config.max_message_bytes)
                    .get(key, Some(options))
                    .await
            })
            .await;
        let found = answer.map_err(|failure| match failure {
            Failure::Etcd(error) => match error::gap(&error) {
                Some(gap) => WatchError::Gap(gap),
                None => WatchError::Interrupted(error::translate(error)),
            },
            Failure::Other(error) => WatchError::Interrupted(error),
        })?;
        let cluster = found.header().map_or(0, |header| header.cluster_id());
        if cluster != self.cluster {
            return Err(WatchError::Gap(Gap::Rebuilt(
                "it is another cluster".into(),
            )));
        }
        let same = match &self.witness {
            Witness::Nothing => found.kvs().is_empty(),
            Witness::Key {
                modified, lease, ..
            } => found
                .kvs()
                .first()
                .is_some_and(|entry| entry.mod_revision() == *modified && entry.lease() == *lease),
        };
        if same {
            Ok(())
        } else {
            Err(WatchError::Gap(Gap::Rebuilt(
                "what we knew of its history is not true of it".into(),
            )))
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
        let gap = Token::of(&foreign).unwrap_err();
        assert!(matches!(gap, WatchError::Gap(Gap::ForeignToken)));
    }
}
