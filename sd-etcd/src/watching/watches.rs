//! The watches of a client, as far as etcd has got with them.

use super::{
    active::ActiveWatch,
    meters,
    requests::{NewWatch, Opened},
    responses::NO_WATCH,
    token::ResumeToken,
};
use crate::support::count;
use etcd_client::{WatchOptions, proto::PbWatchResponse};
use sd_core::{Error, ErrorChain, Gap, WatchError};
use std::collections::{HashMap, VecDeque};
use tokio::time::Instant;

/// How many watches etcd is asked for before it has answered. A hundred requests fit into the queue
/// of the stream, and some of them are others.
const MAX_CREATING: usize = 90;

/// The id of watches that are empty.
const EMPTY: i64 = i64::MAX;

/// All watches of a client.
///
/// Each is given an id on its stream. An etcd takes it, and answers in order (3.4 to 3.7), so that
/// many watches can be asked for at once. Its gRPC proxy gives ids of its own and answers in any
/// order, so that an answer can only be matched to the one request that waits for it. The answer to
/// the first watch of a stream tells which of the two it is.
#[derive(Default)]
pub(super) struct Watches {
    /// Not sent to etcd yet, oldest first.
    waiting: VecDeque<NewWatch>,
    /// Sent, not answered, oldest first.
    pub(super) creating: VecDeque<Creating>,
    /// Started, by etcd's id.
    pub(super) active: HashMap<i64, ActiveWatch>,
    /// The id that was given last on this stream.
    last_id: i64,
    /// The ids that are given are used.
    takes_ids: bool,
    /// The latest revision that a watch of this stream was started at.
    latest_start: i64,
    /// What etcd's revision was at least when it answered on this stream last.
    reached: i64,
    /// Empty watches that were asked for and not answered.
    empty: u32,
}

pub(super) struct Creating {
    pub(super) watch_id: i64,
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
        self.active.is_empty() && self.creating.is_empty()
    }

    /// Returns the next watch to create, if one waits and etcd can be asked for it now.
    pub(super) fn create_next(&mut self, now: Instant) -> Option<(Vec<u8>, WatchOptions)> {
        let most = if self.takes_ids { MAX_CREATING } else { 1 };
        if self.creating.len() >= most {
            return None;
        }
        let watch = self.waiting.pop_front()?;
        let key = watch.token.prefix.to_vec();
        // From the next revision, not the known one: a watch that starts at a revision that has passed joins
        // those that are behind, and hears nothing for up to 100 ms (3.4.23, 3.6.5).
        let start = watch.token.revision.saturating_add(1);
        self.latest_start = self.latest_start.max(start);
        self.last_id += 1;
        let options = WatchOptions::new()
            .with_watch_id(self.last_id)
            .with_prefix()
            .with_start_revision(start)
            .with_progress_notify()
            .with_fragment();
        self.creating.push_back(Creating {
            watch_id: self.last_id,
            watch,
            sent_at: now,
            is_cancelled: false,
        });
        Some((key, options))
    }

    /// Notes that etcd has reached this revision.
    pub(super) fn reached(&mut self, revision: i64) {
        self.reached = self.reached.max(revision);
    }

    /// Whether a watch may wait for a revision that etcd has not reached.
    fn is_ahead(&self) -> bool {
        self.latest_start > self.reached
    }

    /// Returns an empty watch to create, if etcd may not answer a request for progress now: newer releases
    /// do not while a watch of the stream is ahead (3.6.5, 3.7.3).
    ///
    /// Every etcd refuses a watch that ends before it begins, at once and on the stream, and keeps nothing
    /// of it (3.4.23, 3.6.5). So the refusal is as good a sign of life.
    pub(super) fn create_empty(&mut self) -> Option<(Vec<u8>, WatchOptions)> {
        // A proxy gives other ids, and answers in any order. It never answers a request for progress either.
        if !self.takes_ids || !self.is_ahead() || !self.creating.is_empty() {
            return None;
        }
        let watched = &self.active.values().next()?.token().prefix;
        let key = [watched, b"a".as_slice()].concat();
        self.empty += 1;
        let options = WatchOptions::new().with_watch_id(EMPTY);
        Some((key.clone(), options.with_range(key)))
    }

    /// Whether this answers an empty watch. Answers come in order, and no other watch was waiting for one.
    pub(super) fn answers_empty(&mut self, answer: &PbWatchResponse) -> bool {
        let is_refused = answer.canceled && answer.watch_id == NO_WATCH;
        let is = self.empty > 0 && (is_refused || answer.watch_id == EMPTY);
        if is {
            self.empty -= 1;
        }
        is
    }

    /// Takes the watch that etcd's answer belongs to. One that is refused has no id (3.5 and later).
    pub(super) fn answered(&mut self, answer: &PbWatchResponse) -> Option<Creating> {
        let mut creating = self.creating.iter();
        let named = creating.position(|it| it.watch_id == answer.watch_id);
        if !answer.canceled {
            self.takes_ids = named.is_some();
        }
        self.creating.remove(named.unwrap_or(0))
    }

    /// Starts a watch that etcd has created under this id, at this revision.
    pub(super) fn start(&mut self, watch_id: i64, watch: NewWatch, epoch: u64, revision: i64) {
        // A proxy says any revision, and has a watch that is started anew share the one before.
        let is_behind = self.takes_ids && revision > watch.token.revision;
        let _ = watch.opened.send(Ok(Opened::Started { epoch, is_behind }));
        let active = ActiveWatch::new(watch.id, watch.token, watch.buffer);
        // The first item of a watch says that it stands.
        active.progress();
        self.active.insert(watch_id, active);
    }

    /// Forgets the watch with this id of ours. Returns etcd's id if etcd has to be told.
    pub(super) fn cancel(&mut self, id: u64) -> Option<i64> {
        self.waiting.retain(|watch| watch.id != id);
        let mut creating = self.creating.iter_mut();
        if let Some(creating) = creating.find(|it| it.watch.id == id) {
            creating.is_cancelled = true;
        }
        let (watch_id, _) = self.active.iter().find(|(_, active)| active.id == id)?;
        let watch_id = *watch_id;
        self.active.remove(&watch_id);
        Some(watch_id)
    }

    /// Returns the token that tells the most of etcd's history.
    pub(super) fn best_token(&self) -> Option<ResumeToken> {
        let active = self.active.values().map(ActiveWatch::token);
        let best = active.max_by_key(|token| token.rank());
        let creating = self.creating.front().map(|it| &it.watch.token);
        best.or(creating).cloned()
    }

    pub(super) fn recovered(&self) {
        tracing::info!(watches = self.active.len(), "etcd answers again");
        for active in self.active.values() {
            active.progress();
        }
    }

    /// Tells the readers that etcd is silent. That is no news if it `is_slow`.
    pub(super) fn disrupt(&self, error: &Error, is_slow: bool) {
        let watches = self.active.len();
        if is_slow {
            tracing::debug!(watches, "etcd is silent again");
        } else {
            tracing::warn!(watches, "etcd is silent, keeping what is known");
        }
        count(meters::SILENCES, None, 1);
        for active in self.active.values() {
            active.disrupt(error.clone());
        }
    }

    /// Ends the watches that etcd has started, as they may have followed another history.
    pub(super) fn end_with_gap(&mut self, gap: &Gap) {
        count(meters::ROLLBACKS, None, self.active.len());
        tracing::warn!(gap = %ErrorChain(gap), "etcd was wiped or rolled back, listing all again");
        for (_, active) in self.active.drain() {
            active.end(WatchError::Gap(gap.clone()));
        }
    }

    /// Ends all watches, started or not. Readers start them anew.
    pub(super) fn interrupt(&mut self, error: &Error) {
        if !self.active.is_empty() && !matches!(error, Error::Closed) {
            // The connector has warned that it gave up the connection.
            tracing::debug!(watches = self.active.len(), error = %ErrorChain(error), "watches interrupted");
            count(meters::WATCH_INTERRUPTIONS, None, self.active.len());
        }
        let interrupted = || WatchError::Interrupted(error.clone());
        for (_, active) in self.active.drain() {
            active.end(interrupted());
        }
        (self.last_id, self.takes_ids) = (0, false);
        (self.latest_start, self.reached, self.empty) = (0, 0, 0);
        let creating = self.creating.drain(..).map(|creating| creating.watch);
        for watch in creating.chain(self.waiting.drain(..)) {
            let _ = watch.opened.send(Err(interrupted()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watching::{buffer::WatchBuffer, token::ResumeToken, witness::Witness};
    use std::sync::Arc;
    use tokio::sync::oneshot;

    fn waiting(watches: u64) -> Watches {
        let mut all = Watches::default();
        for id in 100..100 + watches {
            all.add(NewWatch {
                id,
                token: ResumeToken {
                    cluster: 1,
                    revision: 1,
                    prefix: (*b"/svc").into(),
                    witness: Witness::of_none(),
                },
                buffer: Arc::new(WatchBuffer::new(1)),
                opened: oneshot::channel().0,
            });
        }
        all
    }

    /// Asks for as many as can be asked for now.
    fn create(watches: &mut Watches) -> usize {
        let created = std::iter::from_fn(|| watches.create_next(Instant::now()));
        created.count()
    }

    fn answered(watches: &mut Watches, watch_id: i64, canceled: bool) -> u64 {
        let answer = PbWatchResponse {
            watch_id,
            canceled,
            ..PbWatchResponse::default()
        };
        let creating = watches.answered(&answer).expect("one was asked for");
        creating.watch.id
    }

    /// Row 42. A refused watch has its own id (3.4) or none (3.5 and later).
    #[test]
    fn an_etcd_that_takes_ids_is_asked_for_many_watches_at_once() {
        let mut watches = waiting(6);
        assert_eq!(create(&mut watches), 1);
        assert_eq!(answered(&mut watches, -1, true), 100, "that says nothing");
        assert_eq!(create(&mut watches), 1);
        assert_eq!(answered(&mut watches, 2, false), 101);

        assert_eq!(create(&mut watches), 4);
        let answers = [(3, false), (-1, true), (5, true), (6, false)];
        let named = answers.map(|(id, canceled)| answered(&mut watches, id, canceled));
        assert_eq!(named, [102, 103, 104, 105]);
        assert!(watches.is_idle());
    }

    #[test]
    fn so_many_are_asked_for_at_once() {
        let mut watches = waiting(3 * MAX_CREATING as u64);
        create(&mut watches);
        answered(&mut watches, 1, false);
        assert_eq!(create(&mut watches), MAX_CREATING);
        answered(&mut watches, 2, false);
        assert_eq!(create(&mut watches), 1);
    }

    /// Row 42: a proxy counts from 0.
    #[test]
    fn a_proxy_is_asked_for_one_watch_at_a_time() {
        let mut watches = waiting(3);
        for (own_id, id) in [(0, 100), (1, 101), (2, 102)] {
            assert_eq!(create(&mut watches), 1);
            assert_eq!(answered(&mut watches, own_id, false), id);
        }
    }

    #[test]
    fn the_next_stream_may_be_another_server() {
        let mut watches = waiting(2);
        create(&mut watches);
        answered(&mut watches, 1, false);
        watches.interrupt(&Error::unavailable("gone"));
        let mut again = waiting(3);
        watches.waiting.append(&mut again.waiting);
        assert_eq!(create(&mut watches), 1);
    }

    /// While a watch waits for a revision to come, newer etcds answer no request for progress.
    #[test]
    fn an_empty_watch_is_asked_for_until_etcd_has_reached_the_latest_start() {
        let mut watches = waiting(2);
        watches.waiting[1].token.revision = 7;
        create(&mut watches);
        assert!(watches.create_empty().is_none(), "the answer will do");
        start(&mut watches, 1, true);
        watches.reached(1);
        assert!(watches.create_empty().is_some(), "it starts at 2");
        watches.reached(2);
        assert!(watches.create_empty().is_none());
        create(&mut watches);
        start(&mut watches, 2, true);
        watches.reached(7);
        watches.reached(3);
        assert!(watches.create_empty().is_some(), "the second starts at 8");
        watches.reached(8);
        assert!(watches.create_empty().is_none());
    }

    #[test]
    fn a_proxy_is_asked_for_no_empty_watch() {
        let mut watches = waiting(1);
        create(&mut watches);
        start(&mut watches, 0, false);
        assert!(watches.create_empty().is_none());
    }

    /// Its refusal is not taken for that of a watch that was asked for after it.
    #[test]
    fn a_refusal_is_that_of_the_empty_watch_if_there_is_one() {
        let mut watches = waiting(2);
        create(&mut watches);
        start(&mut watches, 1, true);
        let refused = PbWatchResponse {
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            ..PbWatchResponse::default()
        };
        assert!(!watches.answers_empty(&refused), "none was asked for");
        assert!(watches.create_empty().is_some());
        create(&mut watches);
        assert!(watches.answers_empty(&refused));
        assert!(!watches.answers_empty(&refused), "that is the other one's");
    }

    /// etcd starts the watch that waits for its answer, under this id.
    fn start(watches: &mut Watches, watch_id: i64, takes_ids: bool) {
        let answer = PbWatchResponse {
            watch_id,
            ..PbWatchResponse::default()
        };
        let creating = watches.answered(&answer).expect("one was asked for");
        assert_eq!(watches.takes_ids, takes_ids);
        watches.start(watch_id, creating.watch, 1, 0);
    }
}
