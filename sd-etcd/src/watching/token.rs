//! Resume tokens: where a watch resumes, and how it knows that the history is still the same.
//!
//! A wiped etcd with the same flags has the same cluster id, member id and raft term (3.4 to 3.7), and
//! so has one that was restored from a backup. A watch from a revision that it has not reached waits
//! silently. Once its counter has passed that revision, the watch resumes and misses all that happened
//! before. So a token carries a [`Witness`]: facts that are true of the known history, and hardly of
//! another.

use super::witness::{Deletion, Witness};
use crate::{
    config::Options,
    connection::{CallError, Connector, Limit},
    errors,
};
use etcd_client::{GetOptions, GetResponse, SortOrder, SortTarget};
use sd_core::{Gap, Revision, WatchError};
use std::sync::Arc;

/// What a [`Revision`] of this backend carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResumeToken {
    pub(super) cluster: u64,
    /// All changes up to this revision are known.
    pub(super) revision: i64,
    /// What the keys begin with, namespace included.
    pub(super) prefix: Arc<[u8]>,
    pub(super) witness: Witness,
}

impl ResumeToken {
    pub(super) fn into_revision(self) -> Revision {
        Revision::new(self)
    }

    /// Returns the token for a watch of `prefix`, which may be another one.
    pub(super) fn for_prefix(mut self, prefix: &[u8]) -> Self {
        if *self.prefix != *prefix {
            self.prefix = prefix.into();
            self.witness = self.witness.elsewhere(self.revision);
        }
        self
    }

    /// Orders tokens by how much they tell of the history.
    pub(super) fn rank(&self) -> (bool, i64) {
        (self.witness.last_put().is_some(), self.revision)
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

    /// Asks etcd whether the witness is true. For a watch that resumes.
    ///
    /// Costs one read, and two small ones beside it if the last change was a deletion, all within one
    /// round trip. etcd sorts the whole prefix for it: 1 ms for 1,000 keys, 15 to 50 ms for 20,000
    /// (3.4.23, 3.6.5, 3.7.3).
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
        let limit = || Limit::after(options.request_timeout).in_turn();
        if !self.witness.is_complete() {
            return self.probe_within(limit(), connector, options).await;
        }
        let needs = self.witness.needs();
        // With their values: for keys alone 3.7 answers from its index, which knows no leases.
        let get = GetOptions::new()
            .with_prefix()
            .with_revision(self.revision)
            .with_sort(SortTarget::Mod, SortOrder::Descend)
            .with_limit(needs);
        let newest = self.read(limit(), connector, options, &self.prefix, get);
        let deletion = async {
            match self.witness.last_deletion() {
                Some(deletion) => {
                    self.verify_deletion(limit(), connector, options, deletion)
                        .await
                }
                None => Ok(()),
            }
        };
        let (newest, ()) = tokio::try_join!(newest, deletion)?;
        let verified = self.witness.verify(newest.count(), newest.kvs());
        verified.map_err(rebuilt)
    }

    async fn verify_deletion(
        &self,
        limit: Limit,
        connector: &Connector,
        options: &Options,
        deletion: &Deletion,
    ) -> Result<(), WatchError> {
        let at = async |revision| {
            let get = GetOptions::new().with_revision(revision).with_count_only();
            self.read(limit.clone(), connector, options, &deletion.key, get)
                .await
        };
        let (before, after) = tokio::try_join!(at(deletion.revision - 1), at(deletion.revision))?;
        match (before.count(), after.count()) {
            (1, 0) => Ok(()),
            _ => Err(rebuilt("the last known deletion did not happen")),
        }
    }

    /// Asks etcd whether the last known put is true, which is cheap however many keys there are. For
    /// reads that are repeated while nothing is wrong. Waits for no turn, as it proves that etcd is alive.
    ///
    /// # Errors
    /// As of [`verify`](Self::verify).
    pub(super) async fn probe(
        &self,
        connector: &Connector,
        options: &Options,
    ) -> Result<(), WatchError> {
        let limit = Limit::after(options.request_timeout);
        self.probe_within(limit, connector, options).await
    }

    async fn probe_within(
        &self,
        limit: Limit,
        connector: &Connector,
        options: &Options,
    ) -> Result<(), WatchError> {
        let Some(put) = self.witness.last_put() else {
            let get = GetOptions::new().with_prefix().with_keys_only();
            let get = get.with_limit(1).with_revision(self.revision);
            let answer = self
                .read(limit, connector, options, &self.prefix, get)
                .await?;
            let has_keys = !answer.kvs().is_empty();
            return match self.witness.is_empty() && has_keys {
                false => Ok(()),
                true => Err(rebuilt(
                    "there were keys at the known revision, and we know of none",
                )),
            };
        };
        let revision = put.until.unwrap_or(self.revision);
        let get = GetOptions::new().with_revision(revision);
        let answer = self.read(limit, connector, options, &put.key, get).await?;
        match answer.kvs() {
            [entry] if put.is(entry) => Ok(()),
            _ => Err(rebuilt("the last known put did not happen")),
        }
    }

    /// Reads from the history that the token is of.
    pub(super) async fn read(
        &self,
        limit: Limit,
        connector: &Connector,
        options: &Options,
        key: &[u8],
        get: GetOptions,
    ) -> Result<GetResponse, WatchError> {
        let answer = connector
            .call_within(limit, "get", |connection| {
                let get = get.clone();
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
        let cluster = answer.header().map_or(0, |header| header.cluster_id());
        if cluster != self.cluster {
            return Err(rebuilt("it is another cluster"));
        }
        Ok(answer)
    }
}

fn rebuilt(why: &str) -> WatchError {
    WatchError::Gap(Gap::Rebuilt(why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_another_backend_is_a_gap() {
        let foreign = Revision::new(7_i64);
        let gap = ResumeToken::of(&foreign).unwrap_err();
        assert!(matches!(gap, WatchError::Gap(Gap::ForeignToken)));
    }
}
