//! What a watch has missed before it starts, read at once.
//!
//! A watch from a revision that has passed joins those that are behind, and hears nothing for up to 100 ms (3.4.23,
//! 3.6.5), though it may have missed nothing. That is so after each list or reconnect during which anybody writes
//! anything. So what it has missed is read, and it starts anew from there.

use super::{advance::Advance, token::ResumeToken};
use crate::{
    config::Options,
    connection::{Connector, Limit},
};
use etcd_client::{GetOptions, KeyValue};

/// The most keys that are read. etcd looks at every key under the prefix for it: 1 ms for 1,000.
const MAX_KEYS: i64 = 1000;

impl ResumeToken {
    /// Reads what has changed since. `None` if a read cannot tell, since a key was deleted, if there are many keys, or
    /// if etcd does not answer.
    pub(super) async fn missed(&self, connector: &Connector, options: &Options) -> Option<Advance> {
        if self.witness.count()? > MAX_KEYS {
            return None;
        }
        let get = GetOptions::new()
            .with_prefix()
            .with_min_mod_revision(self.revision.saturating_add(1))
            .with_limit(MAX_KEYS);
        let limit = Limit::after(options.request_timeout).in_turn();
        let answer = self.read(limit, connector, options, &self.prefix, get);
        let mut answer = answer.await.ok()?;
        let revision = answer.header().map_or(0, |header| header.revision());
        match answer.more() {
            true => None,
            false => self.caught_up(options, revision, answer.count(), answer.take_kvs()),
        }
    }

    /// What has changed since, if at `revision` there are `count` keys, of which these were put since. `None` if a key
    /// was deleted.
    pub(super) fn caught_up(
        &self,
        options: &Options,
        revision: i64,
        count: i64,
        mut puts: Vec<KeyValue>,
    ) -> Option<Advance> {
        let is_new = |revision: i64| revision > self.revision;
        let is_sound = revision >= self.revision
            && (puts.iter())
                .all(|put| is_new(put.mod_revision()) && put.key().starts_with(&self.prefix));
        let created = puts.iter().filter(|put| is_new(put.create_revision()));
        // A key that was deleted is missing, or was created again.
        let expected = self.witness.count()? + created.count() as i64;
        if !is_sound || count != expected {
            return None;
        }
        puts.sort_by_key(KeyValue::mod_revision);
        let mut missed = Advance::from(self.clone());
        for put in puts {
            missed.put(options, put);
        }
        missed.token.revision = revision;
        // A key that was put again since it was created looks as if it had been there.
        missed.token.witness.counted(count);
        Some(missed)
    }
}
