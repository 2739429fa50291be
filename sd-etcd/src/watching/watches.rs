//! The watches of a client, as far as etcd has got with them.

use super::{
    active::ActiveWatch,
    meters,
    requests::{NewWatch, Opened},
    token::Position,
};
use crate::support::count;
use etcd_client::WatchOptions;
use sd_core::{Error, Gap, WatchError};
use std::collections::{HashMap, VecDeque};
use tokio::time::Instant;

/// All watches of a client. They are created one at a time: etcd answers in order, and a proxy gives
/// ids of its own, so an answer can only be matched to the one request that waits for it.
#[derive(Default)]
pub(super) struct Watches {
    /// Not sent to etcd yet, oldest first.
    waiting: VecDeque<NewWatch>,
    /// Sent, not answered.
    pub(super) creating: Option<Creating>,
    /// Started, by etcd's id.
    pub(super) active: HashMap<i64, ActiveWatch>,
}

pub(super) struct Creating {
    pub(super) watch: NewWatch,
    pub(super) sent_at: Instant,
    /// Its reader is gone. It is stopped once etcd has given it an id.
    pub(super) is_cancelled: bool,
}

impl Watches {
    pub(super) fn add(&mut self, watch: NewWatch) {
        self.waiting.push_back(watch);
    }

    /// Whether etcd has no watch of this client and is asked for none.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty() && self.creating.is_none()
    }

    /// Returns the next watch to create, if one waits.
    pub(super) fn create_next(&mut self, now: Instant) -> Option<(Vec<u8>, WatchOptions)> {
        let watch = self.waiting.pop_front()?;
        let key = watch.position.start.clone();
        // From the known revision, not the next: while a watch waits for a revision that etcd has
        // not reached, etcd answers no request for progress (3.6.5), and would look silent.
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(watch.position.token.revision)
            .with_progress_notify()
            .with_fragment();
        self.creating = Some(Creating {
            watch,
            sent_at: now,
            is_cancelled: false,
        });
        Some((key, options))
    }

    pub(super) fn created(&mut self, watch_id: i64, watch: NewWatch, epoch: u64) {
        let _ = watch.opened.send(Ok(Opened::OnConnection(epoch)));
        let active = ActiveWatch::new(watch.id, watch.position, watch.buffer);
        self.active.insert(watch_id, active);
    }

    /// Forgets the watch with this id of ours. Returns etcd's id if etcd has to be told.
    pub(super) fn cancel(&mut self, id: u64) -> Option<i64> {
        self.waiting.retain(|watch| watch.id != id);
        if let Some(creating) = &mut self.creating
            && creating.watch.id == id
        {
            creating.is_cancelled = true;
        }
        let (watch_id, _) = self.active.iter().find(|(_, active)| active.id == id)?;
        let watch_id = *watch_id;
        self.active.remove(&watch_id);
        Some(watch_id)
    }

    /// Returns the position that tells the most of etcd's history.
    pub(super) fn best_position(&self) -> Option<Position> {
        let active = self.active.values().map(ActiveWatch::position);
        let best = active.max_by_key(|position| position.token.rank());
        let creating = self.creating.as_ref().map(|it| &it.watch.position);
        best.or(creating).cloned()
    }

    pub(super) fn recovered(&self) {
        tracing::info!(watches = self.active.len(), "etcd answers again");
        for active in self.active.values() {
            active.progress();
        }
    }

    pub(super) fn disrupt(&self, error: &Error) {
        tracing::warn!(
            watches = self.active.len(),
            "etcd is silent, keeping what is known"
        );
        count(meters::SILENCES, None, 1);
        for active in self.active.values() {
            active.disrupt(error.clone());
        }
    }

    /// Ends the watches that etcd has started, as they may have followed another history.
    pub(super) fn end_with_gap(&mut self, gap: &Gap) {
        count(meters::ROLLBACKS, None, self.active.len());
        tracing::warn!(%gap, "etcd was wiped or rolled back, listing all again");
        for (_, active) in self.active.drain() {
            active.end(WatchError::Gap(gap.clone()));
        }
    }

    /// Ends all watches, started or not. Readers start them anew.
    pub(super) fn interrupt(&mut self, error: &Error) {
        if !self.active.is_empty() && !matches!(error, Error::Closed) {
            // The connector has warned that it gave up the connection.
            tracing::debug!(watches = self.active.len(), %error, "watches interrupted");
            count(meters::WATCH_INTERRUPTIONS, None, self.active.len());
        }
        let interrupted = || WatchError::Interrupted(error.clone());
        for (_, active) in self.active.drain() {
            active.end(interrupted());
        }
        let creating = self.creating.take().map(|creating| creating.watch);
        for watch in creating.into_iter().chain(self.waiting.drain(..)) {
            let _ = watch.opened.send(Err(interrupted()));
        }
    }
}
