//! A watch that etcd has started: where it is, and what it makes of etcd's events.

#[cfg(test)]
mod history;

use super::{buffer::WatchBuffer, entry, meters, token::ResumeToken};
use crate::{config::Options, support::GaugeGuard};
use etcd_client::{KeyValue, proto::PbEvent};
use sd_core::{Change, Error, WatchError};
use std::sync::Arc;

pub(super) struct ActiveWatch {
    /// Identifies it among the watches of this client.
    pub(super) id: u64,
    buffer: Arc<WatchBuffer>,
    /// The revision that it was started from. Events up to it are known already.
    started_from: i64,
    token: ResumeToken,
    /// Events of a response of which more is to come.
    fragments: Vec<PbEvent>,
    _gauge: GaugeGuard,
}

impl ActiveWatch {
    /// Creates a watch that goes on from `token` and fills `buffer`.
    pub(super) fn new(id: u64, token: ResumeToken, buffer: Arc<WatchBuffer>) -> Self {
        Self {
            id,
            buffer,
            started_from: token.revision,
            token,
            fragments: Vec::new(),
            _gauge: GaugeGuard::new(meters::WATCHES),
        }
    }

    pub(super) fn token(&self) -> &ResumeToken {
        &self.token
    }

    /// Tells the reader that the watch is healthy, without changes.
    pub(super) fn progress(&self) {
        let resume = self.token.clone().into_revision();
        self.buffer.push(Vec::new(), resume, 0);
    }

    pub(super) fn disrupt(&self, error: Error) {
        self.buffer.disrupt(error);
    }

    pub(super) fn end(&self, error: WatchError) {
        self.buffer.end(error);
    }

    /// Takes events of a response of which more may come.
    pub(super) fn collect(&mut self, events: Vec<PbEvent>) {
        if self.fragments.is_empty() {
            self.fragments = events;
        } else {
            self.fragments.extend(events);
        }
    }

    /// Whether events were collected and not applied yet.
    pub(super) fn has_fragments(&self) -> bool {
        !self.fragments.is_empty()
    }

    /// Handles etcd's own notice that there is nothing up to `revision`.
    pub(super) fn advance(&mut self, revision: i64) {
        if revision > self.token.revision {
            self.token.revision = revision;
            self.progress();
        }
    }

    /// Applies the collected events. Returns `false` if that ended the buffer.
    pub(super) fn apply(&mut self, options: &Options) -> bool {
        let mut skipped = 0;
        let token = &mut self.token;
        let events = std::mem::take(&mut self.fragments);
        let mut changes = Vec::with_capacity(events.len());
        for event in events {
            let Some(entry) = event.kv.map(KeyValue) else {
                return self.reject("an event without a key");
            };
            let modified = entry.mod_revision();
            if modified <= self.started_from {
                continue;
            }
            if modified < token.revision {
                return self.reject("an event of the past");
            }
            let change = match event.r#type {
                0 => {
                    token.witness.put(&entry);
                    entry::entry(options, entry).map(Change::Put)
                }
                1 => {
                    token.witness.deleted(entry.key(), modified);
                    entry::key(options, entry.key()).map(Change::Delete)
                }
                _ => return self.reject("an event of an unknown kind"),
            };
            token.revision = modified;
            match change {
                Some(change) => changes.push(change),
                None => skipped += 1,
            }
        }
        if changes.is_empty() && skipped == 0 {
            return true;
        }
        let resume = self.token.clone().into_revision();
        self.buffer.push(changes, resume, skipped)
    }

    fn reject(&self, what: &str) -> bool {
        self.end(WatchError::Interrupted(Error::Backend {
            message: format!("etcd sent {what}"),
            transient: true,
            source: None,
        }));
        false
    }
}
