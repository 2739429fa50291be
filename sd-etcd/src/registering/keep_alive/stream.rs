//! One keep-alive stream.
//!
//! etcd's gRPC proxy renews a lease by its own clock and answers when it does, up to a third of the
//! TTL and half a second late (3.4.23 to 3.7.3). So a request that is not answered promptly is
//! followed by a read of the lease's remaining time. A lease that was renewed lately needs no answer
//! to this request.

use super::KeepAliveEvent;
use crate::{
    connection::{CallError, Connector, Limit},
    errors,
    support::finish,
};
use etcd_client::{LeaseKeepAliveStream, LeaseKeeper};
use futures::future::BoxFuture;
use sd_core::{Error, Ttl};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

pub(super) struct Stream {
    connector: Arc<Connector>,
    lease: i64,
    /// A third of the TTL: of the one that etcd has granted, once it has said it.
    pub(super) interval: Duration,
    /// How long an answer may take.
    patience: Duration,
    pub(super) epoch: u64,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    /// When the first request was sent, or earlier.
    pub(super) opened_at: Instant,
    /// When the unanswered request was sent.
    sent_at: Option<Instant>,
    /// The read of the seconds that the lease has left; below zero if there is no such lease.
    time_to_live: Option<BoxFuture<'static, Result<i64, CallError>>>,
    /// That read was started, since the unanswered request was sent.
    was_checked: bool,
    next_at: Instant,
    /// A request was answered after the first.
    pub(super) is_steady: bool,
}

impl Stream {
    /// Opens a stream, within two times `patience`. Its first request is answered then.
    pub(super) async fn open(
        connector: Arc<Connector>,
        lease: i64,
        interval: Duration,
        patience: Duration,
    ) -> Result<Self, CallError> {
        // Before 3.7 no token is needed, so that a lease outlives a wait for one.
        let (epoch, opened_at, (keeper, answers)) = connector
            .call_at_once(
                Limit::after(patience * 2),
                "keep-alive",
                |connection| async move {
                    let opened_at = Instant::now();
                    let stream = connection.client.lease_client().keep_alive(lease).await?;
                    Ok((connection.epoch, opened_at, stream))
                },
            )
            .await?;
        Ok(Self {
            connector,
            lease,
            interval,
            patience,
            epoch,
            keeper,
            answers,
            opened_at,
            sent_at: None,
            time_to_live: None,
            was_checked: false,
            next_at: Instant::now() + interval,
            is_steady: false,
        })
    }

    /// Waits for the next event. `epochs` are the connector's. Cancellation safe.
    ///
    /// # Errors
    /// Why the stream is of no use any more.
    pub(super) async fn next(
        &mut self,
        epochs: &mut watch::Receiver<u64>,
    ) -> Result<KeepAliveEvent, Error> {
        loop {
            let deadline = match (self.sent_at, self.was_checked) {
                (None, _) => self.next_at,
                (Some(sent), false) => sent + self.patience / 2,
                (Some(sent), true) => sent + self.patience,
            };
            tokio::select! {
                answer = self.answers.message() => return match answer {
                    Ok(Some(answer)) if answer.ttl() > 0 => {
                        self.connector.streamed(self.epoch);
                        Ok(self.renewed_for(granted(answer.ttl())))
                    }
                    Ok(Some(_)) => Ok(KeepAliveEvent::LeaseLost),
                    Ok(None) => Err(Error::unavailable("the keep-alive stream ended")),
                    Err(error) => Err(errors::translate(error)),
                },
                left = finish(&mut self.time_to_live) => match left {
                    Ok(left) if left < 0 => return Ok(KeepAliveEvent::LeaseLost),
                    Ok(left) if was_renewed_lately(left, self.interval) => {
                        let renewed_at = self.renewed_at(left);
                        return Ok(self.renewed(None, renewed_at));
                    }
                    _ => {}
                },
                changed = epochs.changed() => {
                    if changed.is_err() || *epochs.borrow_and_update() != self.epoch {
                        return Err(Error::unavailable("the connection was given up"));
                    }
                }
                () = sleep_until(deadline) => match (self.sent_at, self.was_checked) {
                    (None, _) => self.send().await?,
                    (Some(_), false) => {
                        let (connector, lease) = (self.connector.clone(), self.lease);
                        let asking = seconds_left(connector, lease, self.patience);
                        self.time_to_live = Some(Box::pin(asking));
                        self.was_checked = true;
                    }
                    (Some(sent), true) => return Err(Error::Timeout {
                        operation: "keep-alive",
                        after: sent.elapsed(),
                    }),
                },
            }
        }
    }

    async fn send(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        self.sent_at = Some(now);
        self.next_at = now + self.interval;
        // The queue holds a hundred requests, and one is in it at a time.
        self.keeper.keep_alive().await.map_err(errors::translate)
    }

    /// Notes an answer that names the TTL of the lease. etcd grants a longer one than it was asked
    /// for if that is shorter than one and a half of its election timeouts (3.4 to 3.7).
    fn renewed_for(&mut self, ttl: Ttl) -> KeepAliveEvent {
        self.interval = self.interval.max(ttl.keep_alive_interval());
        // Without an unanswered request it is a late answer: the lease's time was read meanwhile.
        let sent_at = self.sent_at.unwrap_or(self.opened_at);
        if self.sent_at.is_some() {
            self.next_at = sent_at + self.interval;
        }
        self.renewed(Some(ttl), sent_at)
    }

    fn renewed(&mut self, ttl: Option<Ttl>, sent_at: Instant) -> KeepAliveEvent {
        self.sent_at = None;
        self.time_to_live = None;
        self.was_checked = false;
        self.is_steady = true;
        KeepAliveEvent::Renewed { ttl, sent_at }
    }

    /// Returns when a lease was renewed that had so many seconds left, rounded down, when this was
    /// asked: after the unanswered request was sent.
    fn renewed_at(&self, left: i64) -> Instant {
        let ttl = self.interval * 3;
        let left = Duration::from_secs(u64::try_from(left).unwrap_or_default().saturating_add(1));
        let asked_at = self.sent_at.unwrap_or(self.opened_at) + self.patience / 2;
        asked_at
            .checked_sub(ttl.saturating_sub(left))
            .unwrap_or(self.opened_at)
    }
}

/// Returns the TTL of so many seconds, or the nearest that there can be.
fn granted(seconds: i64) -> Ttl {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    let ttl = Duration::from_secs(seconds).clamp(Ttl::MIN.duration(), Ttl::MAX.duration());
    Ttl::new(ttl).unwrap_or(Ttl::MIN)
}

/// Whether a lease with so many seconds left, rounded down, outlives the next request.
fn was_renewed_lately(left: i64, interval: Duration) -> bool {
    u64::try_from(left).is_ok_and(|left| Duration::from_secs(left) >= interval)
}

async fn seconds_left(
    connector: Arc<Connector>,
    lease: i64,
    limit: Duration,
) -> Result<i64, CallError> {
    connector
        .call_at_once(
            Limit::after(limit),
            "lease time to live",
            |connection| async move {
                let mut leases = connection.client.lease_client();
                leases.time_to_live(lease, None).await
            },
        )
        .await
        .map(|answer| answer.ttl())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::cases;
    use proptest::prelude::*;

    #[test]
    fn a_lease_that_outlives_the_next_beat_was_prolonged_of_late() {
        let interval = Duration::from_secs(3);
        let was_renewed = [0, 2, 3, 9].map(|left| was_renewed_lately(left, interval));
        assert_eq!(was_renewed, [false, false, true, true]);
    }

    proptest! {
        #![proptest_config(cases(2))]

        /// The number is etcd's, or of whatever answers in its place.
        #[test]
        fn any_time_that_is_left_is_understood(
            left in prop_oneof![any::<i64>(), Just(i64::MAX), Just(i64::MIN)],
            interval in 1..30_000_u64,
        ) {
            was_renewed_lately(left, Duration::from_secs(interval));
        }
    }
}
