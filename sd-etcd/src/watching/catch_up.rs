//! What a watch has missed before it starts, read at once.
//!
//! A watch from a revision that has passed joins those that are behind, and hears nothing for up to 100 ms (3.4.23,
//! 3.6.5), though it may have missed nothing. That is so after each list or reconnect during which anybody writes
//! anything. So what it has missed is read, and it starts anew from there.

use super::{changes::Changes, entry, token::ResumeToken};
use crate::{
    config::Options,
    connection::{Connector, Limit},
};
use etcd_client::{GetOptions, KeyValue};
use sd_core::Change;

/// The most keys that are read. etcd looks at every key under the prefix for it: 1 ms for 1,000.
const MAX_KEYS: i64 = 1000;

/// All changes up to a later revision.
pub(super) struct Missed {
    pub(super) changes: Changes,
    /// How many changes are of keys that cannot be understood.
    pub(super) skipped: u64,
    /// Where they lead to.
    pub(super) token: ResumeToken,
}

impl ResumeToken {
    /// Reads what has changed since. `None` if a read cannot tell, since a key was deleted, if there are many keys, or
    /// if etcd does not answer.
    pub(super) async fn missed(&self, connector: &Connector, options: &Options) -> Option<Missed> {
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
            false => Missed::since(self, options, revision, answer.count(), answer.take_kvs()),
        }
    }
}

impl Missed {
    /// What has changed since `token`, if at `revision` there are `count` keys, of which these were put since. `None` if
    /// a key was deleted.
    pub(super) fn since(
        token: &ResumeToken,
        options: &Options,
        revision: i64,
        count: i64,
        mut puts: Vec<KeyValue>,
    ) -> Option<Self> {
        let is_new = |revision: i64| revision > token.revision;
        let is_sound = revision >= token.revision
            && (puts.iter())
                .all(|put| is_new(put.mod_revision()) && put.key().starts_with(&token.prefix));
        let created = puts.iter().filter(|put| is_new(put.create_revision()));
        // A key that was deleted is missing, or was created again.
        let expected = token.witness.count()? + created.count() as i64;
        if !is_sound || count != expected {
            return None;
        }
        puts.sort_by_key(KeyValue::mod_revision);
        let mut token = token.clone();
        token.revision = revision;
        token.witness.caught_up(count, &puts);
        let (mut changes, mut skipped) = (Changes::default(), 0);
        for put in puts {
            match entry::entry(options, put) {
                Some(entry) => changes.push(Change::Put(entry)),
                None => skipped += 1,
            }
        }
        Some(Self {
            changes,
            skipped,
            token,
        })
    }
}
