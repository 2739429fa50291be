//! One watch: where it is, and what it makes of etcd's events.

#[cfg(test)]
mod history;

use crate::{
    config::Config,
    feed::Feed,
    revision::{Token, Witness},
    telemetry::{self, Counted},
};
use etcd_client::proto::{PbEvent, PbKeyValue};
use sd_core::{Change, Entry, Error, Key, WatchError};
use std::sync::Arc;

/// A watch that etcd has begun.
pub(crate) struct Active {
    /// Names it among the watches of this client.
    pub(crate) id: u64,
    /// The beginning of its keys.
    start: Vec<u8>,
    feed: Arc<Feed>,
    /// Up to here its events were known before it began.
    known: i64,
    /// Where it is.
    token: Token,
    /// Events of a response that is not yet whole.
    fragments: Vec<PbEvent>,
    _counted: Counted,
}

impl Active {
    /// A watch of the keys that begin with `start`, from `token` on, which fills `feed`.
    pub(crate) fn new(id: u64, start: Vec<u8>, token: Token, feed: Arc<Feed>) -> Self {
        Self {
            id,
            start,
            feed,
            known: token.revision,
            token,
            fragments: Vec::new(),
            _counted: Counted::new(telemetry::WATCHES),
        }
    }

    /// The beginning of its keys, namespace included.
    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// Where it is.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Tells the reader that all is well, without news.
    pub(crate) fn progress(&self) {
        let resume = self.token.clone().into_revision();
        self.feed.push(Vec::new(), resume, 0);
    }

    /// Tells the reader that etcd does not answer.
    pub(crate) fn disrupt(&self, error: Error) {
        self.feed.disrupt(error);
    }

    /// Ends the feed.
    pub(crate) fn end(&self, error: WatchError) {
        self.feed.end(error);
    }

    /// Takes events of a response, which may go on in the next.
    pub(crate) fn collect(&mut self, events: Vec<PbEvent>) {
        if self.fragments.is_empty() {
            self.fragments = events;
        } else {
            self.fragments.extend(events);
        }
    }

    /// Whether a response is being collected.
    pub(crate) fn is_collecting(&self) -> bool {
        !self.fragments.is_empty()
    }

    /// etcd says by itself that there is nothing up to `revision`.
    pub(crate) fn notified(&mut self, revision: i64) {
        if revision > self.token.revision {
            self.token.revision = revision;
            self.progress();
        }
    }

    /// Applies the events that have come; `false` if the feed has ended.
    pub(crate) fn apply(&mut self, config: &Config) -> bool {
        let mut skipped = 0;
        let events = std::mem::take(&mut self.fragments);
        let newest = events.iter().rposition(|event| event.r#type == 0);
        let mut changes = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            let Some(entry) = event.kv else {
                return self.reject("an event without a key");
            };
            let modified = entry.mod_revision;
            if modified <= self.known {
                continue;
            }
            if modified < self.token.revision {
                return self.reject("an event of the past");
            }
            let change = match event.r#type {
                0 => {
                    if Some(index) == newest {
                        let key = entry.key.as_slice().into();
                        self.token.witness = Witness::put(key, modified, entry.lease);
                    }
                    put(config, entry)
                }
                1 => {
                    self.token.witness.deleted(&entry.key, modified);
                    key(config, &entry.key).map(Change::Delete)
                }
                _ => return self.reject("an event of an unknown kind"),
            };
            self.token.revision = modified;
            match change {
                Some(change) => changes.push(change),
                None => skipped += 1,
            }
        }
        if changes.is_empty() && skipped == 0 {
            return true;
        }
        let resume = self.token.clone().into_revision();
        self.feed.push(changes, resume, skipped)
    }

    fn reject(&self, what: &str) -> bool {
        self.feed.end(WatchError::Interrupted(Error::Backend {
            message: format!("etcd sent {what}"),
            transient: true,
            source: None,
        }));
        false
    }
}

fn put(config: &Config, entry: PbKeyValue) -> Option<Change> {
    let key = key(config, &entry.key)?;
    Some(Change::Put(Entry::new(key, entry.value)))
}

fn key(config: &Config, raw: &[u8]) -> Option<Key> {
    Key::new(config.namespace.strip(raw)?).ok()
}
