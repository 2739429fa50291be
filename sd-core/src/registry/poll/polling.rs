//! One watch: lists again and again, and says what changed.

use super::{Lister, lists::Lists};
use crate::registry::{error::Error, listing::Listing, prefix::Prefix, watch::Batch};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// One watch.
pub(super) struct Polling<L> {
    pub(super) lists: Arc<Lists<L>>,
    pub(super) prefix: Prefix,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) known: Listing,
    pub(super) disrupted: bool,
}

/// What a poll brought, and with what to go on.
pub(super) enum Polled<L> {
    Batch(Batch, Polling<L>),
    Disrupted(Error, Polling<L>),
    Interrupted(Error),
}

impl<L: Lister> Polling<L> {
    /// Polls until there is something to say.
    pub(super) async fn next(mut self) -> Polled<L> {
        loop {
            sleep(self.interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            match self.lists.list(&self.prefix, self.timeout).await {
                Ok(listing) => {
                    let batch = self.known.batch_to(&listing);
                    let recovered = std::mem::take(&mut self.disrupted);
                    if !batch.changes.is_empty() || recovered {
                        self.known = listing;
                        return Polled::Batch(batch, self);
                    }
                }
                Err(error) if !error.is_transient() => return Polled::Interrupted(error),
                Err(error) => {
                    if !std::mem::replace(&mut self.disrupted, true) {
                        return Polled::Disrupted(error, self);
                    }
                }
            }
        }
    }
}
