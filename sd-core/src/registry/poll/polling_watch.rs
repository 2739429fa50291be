//! A watch of a poller: lists repeatedly and reports what changed.

use super::{Lister, bounded_lister::BoundedLister};
use crate::registry::{error::Error, listing::Listing, prefix::Prefix, watch::Batch};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// A watch of a poller.
pub(super) struct PollingWatch<L> {
    pub(super) lister: Arc<BoundedLister<L>>,
    pub(super) prefix: Prefix,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) known: Listing,
    pub(super) last: LastPoll,
}

/// How the registry answered last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LastPoll {
    /// It was not asked yet.
    None,
    Answered,
    Failed,
}

/// An item of the watch, and the watch that yields the next one.
pub(super) enum Polled<L> {
    Batch(Batch, PollingWatch<L>),
    Disrupted(Error, PollingWatch<L>),
    Interrupted(Error),
}

impl<L: Lister> PollingWatch<L> {
    /// Polls until there is something to report: a change, the first answer of the watch or of an
    /// outage, the first failure. The first poll does not wait, as a watch begins with an answer.
    pub(super) async fn next(mut self) -> Polled<L> {
        loop {
            if self.last != LastPoll::None {
                sleep(self.interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            }
            match self.lister.list(&self.prefix, self.timeout).await {
                Ok(listing) => {
                    let batch = self.known.batch_to(&listing);
                    let last = std::mem::replace(&mut self.last, LastPoll::Answered);
                    if !batch.changes.is_empty() || last != LastPoll::Answered {
                        self.known = listing;
                        return Polled::Batch(batch, self);
                    }
                }
                Err(error) if !error.is_transient() => return Polled::Interrupted(error),
                Err(error) => {
                    let last = std::mem::replace(&mut self.last, LastPoll::Failed);
                    if last != LastPoll::Failed {
                        return Polled::Disrupted(error, self);
                    }
                }
            }
        }
    }
}
