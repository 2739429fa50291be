//! What a response on the watch stream does to the watches, without I/O. The owner of the stream does what
//! is left to do.

use super::{active::Refused, meters, requests::Opened, token::ResumeToken, watches::Watches};
use crate::{config::Options, errors, support::count};
use etcd_client::proto::PbWatchResponse;
use sd_core::{Error, Gap, WatchError};
use tokio::time::Instant;

/// The watch id in etcd's answer to a request for progress.
pub(super) const NO_WATCH: i64 = -1;

/// What is left to do about a response.
#[derive(Debug, Default)]
pub(super) struct Reaction {
    /// It answers a request for progress, or an empty watch.
    pub(super) has_progressed: bool,
    /// It denies a watch on this stream.
    pub(super) is_denied: bool,
    /// What a watch knows since.
    pub(super) learned: Option<ResumeToken>,
    /// The watch that etcd has to end.
    pub(super) cancel: Option<i64>,
    /// Why the stream ends.
    pub(super) end: Option<End>,
}

/// Why a stream ends, and with it every watch.
#[derive(Debug)]
pub(super) enum End {
    /// It needs another token.
    Interrupted(Error),
    /// etcd sends what is not to be held: the connection is given up.
    Broken(Error),
}

impl Watches {
    /// Takes a response of the stream, which is on the connection with the number `epoch`.
    pub(super) fn respond(
        &mut self,
        response: PbWatchResponse,
        options: &Options,
        epoch: u64,
        now: Instant,
    ) -> Reaction {
        let header = response.header.as_ref();
        self.reached(header.map_or(0, |header| header.revision));
        if response.created && self.answers_empty(&response) {
            Reaction {
                has_progressed: true,
                // One that does not refuse it is no etcd, and is not to keep it.
                cancel: (!response.canceled).then_some(response.watch_id),
                ..Reaction::default()
            }
        } else if response.created {
            self.created(&response, epoch)
        } else if response.canceled {
            self.cancelled(&response)
        } else if self.active.contains_key(&response.watch_id) {
            self.received(response, options, now)
        } else {
            // It never advances a watch: it could overtake events before 3.4.25 and 3.5.8. What is not
            // for `NO_WATCH` is a last response to a cancelled watch.
            Reaction {
                has_progressed: response.watch_id == NO_WATCH,
                ..Reaction::default()
            }
        }
    }

    fn created(&mut self, response: &PbWatchResponse, epoch: u64) -> Reaction {
        let mut reaction = Reaction::default();
        let Some(creating) = self.answered(response) else {
            return reaction;
        };
        if response.canceled {
            reaction.is_denied = errors::denies_watch(&response.cancel_reason);
            let _ = creating.watch.opened.send(match reaction.is_denied {
                true => Ok(Opened::Denied),
                false => Err(cancel_error(response)),
            });
            reaction.cancel = (response.compact_revision > 0).then_some(response.watch_id);
        } else if self.active.contains_key(&response.watch_id) {
            // The watch that has the id would hear nothing more.
            let error = errors::broken("one id for two watches");
            let interrupted = WatchError::Interrupted(error.clone());
            let _ = creating.watch.opened.send(Err(interrupted));
            reaction.end = Some(End::Broken(error));
        } else if creating.is_cancelled {
            reaction.cancel = Some(response.watch_id);
        } else {
            reaction.learned = Some(creating.watch.token.clone());
            let revision = response.header.as_ref().map_or(0, |it| it.revision);
            self.start(response.watch_id, creating.watch, epoch, revision);
        }
        reaction
    }

    fn cancelled(&mut self, response: &PbWatchResponse) -> Reaction {
        let mut reaction = Reaction {
            // etcd keeps the watch until it is told otherwise, and answers no request for progress
            // while one watch of the stream is behind.
            cancel: (response.compact_revision > 0).then_some(response.watch_id),
            ..Reaction::default()
        };
        if let Some(active) = self.active.remove(&response.watch_id) {
            active.end(cancel_error(response));
            // A stream keeps the token that it was opened with.
            if errors::is_token_refused(&response.cancel_reason) {
                let error = errors::translate_cancel_reason(&response.cancel_reason);
                reaction.end = Some(End::Interrupted(error));
            }
        }
        reaction
    }

    fn received(&mut self, response: PbWatchResponse, options: &Options, now: Instant) -> Reaction {
        let mut reaction = Reaction::default();
        let watch_id = response.watch_id;
        let Some(active) = self.active.get_mut(&watch_id) else {
            return reaction;
        };
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        let is_progress =
            response.events.is_empty() && !response.fragment && !active.has_fragments();
        let is_alive = if is_progress {
            active.advance(revision);
            true
        } else {
            match active.collect(options, response.events, now) {
                Err(refused) => {
                    reaction.end = Some(End::Broken(self.refused(watch_id, refused)));
                    return reaction;
                }
                Ok(()) if response.fragment => return reaction,
                Ok(()) => active.apply(),
            }
        };
        reaction.learned = Some(active.token().clone());
        if !is_alive {
            self.active.remove(&watch_id);
            reaction.cancel = Some(watch_id);
        }
        reaction
    }

    /// Ends a watch whose changes are more than is held. The rest of them must not come.
    fn refused(&mut self, watch_id: i64, refused: Refused) -> Error {
        match refused {
            Refused::Broken(what) => errors::broken(what),
            Refused::TooLarge => {
                count(meters::WATCHES_OVER_LIMIT, None, 1);
                if let Some(active) = self.active.remove(&watch_id) {
                    active.end(WatchError::Gap(Gap::Overflow));
                }
                Error::unavailable("etcd sent more changes at once than are held")
            }
        }
    }
}

fn cancel_error(response: &PbWatchResponse) -> WatchError {
    if response.compact_revision > 0 {
        WatchError::Gap(Gap::Compacted)
    } else {
        WatchError::Interrupted(errors::translate_cancel_reason(&response.cancel_reason))
    }
}
