//! A watch that etcd has started: where it is, and what it makes of etcd's events.

#[cfg(test)]
mod history;

use super::{advance::Advance, buffer::WatchBuffer, meters, token::ResumeToken};
use crate::{config::Options, support::GaugeGuard};
use etcd_client::{KeyValue, proto::PbEvent};
use sd_core::{Error, WatchError};
use std::sync::Arc;
use tokio::time::Instant;

pub(super) struct ActiveWatch {
    /// Identifies it among the watches of this client.
    pub(super) id: u64,
    buffer: Arc<WatchBuffer>,
    /// The revision that it was started from. Events up to it are known already.
    started_from: i64,
    token: ResumeToken,
    /// What was collected of a response, and is not applied yet.
    collected: Option<Collected>,
    _gauge: GaugeGuard,
}

/// The events of one response, which may come in fragments.
struct Collected {
    since: Instant,
    advance: Advance,
}

/// What is wrong with events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// No etcd sends them.
    Broken(&'static str),
    /// They are more than is held at once.
    TooLarge,
}

impl ActiveWatch {
    /// Creates a watch that goes on from `token` and fills `buffer`.
    pub(super) fn new(id: u64, token: ResumeToken, buffer: Arc<WatchBuffer>) -> Self {
        Self {
            id,
            buffer,
            started_from: token.revision,
            token,
            collected: None,
            _gauge: GaugeGuard::new(meters::WATCHES),
        }
    }

    pub(super) fn token(&self) -> &ResumeToken {
        &self.token
    }

    /// Tells the reader that the watch is healthy, without changes.
    pub(super) fn progress(&self) {
        Advance::from(self.token.clone()).hand_over(&self.buffer);
    }

    pub(super) fn disrupt(&self, error: Error) {
        self.buffer.disrupt(error);
    }

    pub(super) fn end(&self, error: WatchError) {
        self.buffer.end(error);
    }

    /// Whether events were collected and not applied yet.
    pub(super) fn has_fragments(&self) -> bool {
        self.collected.is_some()
    }

    /// Handles etcd's own notice that there is nothing up to `revision`.
    pub(super) fn advance(&mut self, revision: i64) {
        if revision > self.token.revision {
            self.token.revision = revision;
            self.progress();
        }
    }

    /// Takes events of a response of which more may come.
    pub(super) fn collect(
        &mut self,
        options: &Options,
        events: Vec<PbEvent>,
        now: Instant,
    ) -> Result<(), Refused> {
        let token = &self.token;
        let collected = self.collected.get_or_insert_with(|| Collected {
            since: now,
            advance: Advance::from(token.clone()),
        });
        for event in events {
            collected.take(options, event, self.started_from)?;
            if collected.advance.changes.bytes() > options.max_message_bytes {
                return Err(Refused::TooLarge);
            }
        }
        match now - collected.since > options.list_timeout {
            true => Err(Refused::Broken("fragments of one response for too long")),
            false => Ok(()),
        }
    }

    /// Applies the collected events. Returns `false` if that ended the buffer.
    pub(super) fn apply(&mut self) -> bool {
        let Some(Collected { advance, .. }) = self.collected.take() else {
            return true;
        };
        self.token = advance.token.clone();
        advance.is_empty() || advance.hand_over(&self.buffer)
    }
}

impl Collected {
    fn take(
        &mut self,
        options: &Options,
        event: PbEvent,
        started_from: i64,
    ) -> Result<(), Refused> {
        let Some(entry) = event.kv.map(KeyValue) else {
            return Err(Refused::Broken("an event without a key"));
        };
        let token = &self.advance.token;
        if !entry.key().starts_with(&token.prefix) {
            return Err(Refused::Broken("an event of a key that is not watched"));
        }
        let modified = entry.mod_revision();
        if modified <= started_from {
            return Ok(());
        }
        if modified < token.revision {
            return Err(Refused::Broken("an event of the past"));
        }
        match event.r#type {
            0 => self.advance.put(options, entry),
            1 => self.advance.delete(options, entry.key(), modified),
            _ => return Err(Refused::Broken("an event of an unknown kind")),
        }
        Ok(())
    }
}
