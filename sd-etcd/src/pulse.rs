//! The pulse: one keep-alive stream for one lease.
//!
//! Beats every third of the TTL. A beat that is not answered in time is not a loss: the connection
//! is given up and the next member is asked, for as long as it takes. Only etcd's own word, that
//! there is no such lease, ends it.
//!
//! etcd's gRPC proxy beats by its own clock and answers when it does, up to a third of the TTL and
//! half a second late (3.4.23 to 3.7.3). So a beat that is not answered promptly is followed by a
//! question for the lease itself: one that has been prolonged of late needs no answer to this beat.

use crate::{
    config::Config,
    departures::backoff,
    error,
    link::{Failure, Link},
    telemetry,
};
use backon::ExponentialBackoff;
use etcd_client::{LeaseKeepAliveStream, LeaseKeeper};
use futures::future::BoxFuture;
use sd_core::{Error, Ttl};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How rarely etcd is asked that refuses us.
const RAREST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// The lease lives.
    Alive,
    /// etcd says that there is no such lease.
    Lost,
}

pub(crate) struct Pulse {
    link: Arc<Link>,
    config: Arc<Config>,
    lease: i64,
    interval: Duration,
    epochs: watch::Receiver<u64>,
    backoff: ExponentialBackoff,
    /// How often etcd refused us since it last took a beat.
    refusals: u32,
    state: State,
}

enum State {
    Down { until: Instant },
    Opening(BoxFuture<'static, Result<Up, Failure>>),
    Up(Box<Up>),
}

struct Up {
    epoch: u64,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    /// The beat that is not answered yet.
    sent: Option<Instant>,
    doubt: Doubt,
    next: Instant,
    /// A beat was answered after the first.
    steady: bool,
}

/// Whether the beat that is not answered was one too many.
enum Doubt {
    None,
    /// How many seconds the lease has left; below zero if there is none.
    Asking(BoxFuture<'static, Result<i64, Failure>>),
    Asked,
}

impl Pulse {
    /// The pulse of `lease`, beginning at once.
    pub(crate) fn new(link: Arc<Link>, config: Arc<Config>, lease: i64, ttl: Ttl) -> Self {
        Self {
            epochs: link.epochs(),
            link,
            config,
            lease,
            interval: ttl.keep_alive_interval(),
            backoff: backoff(),
            refusals: 0,
            state: State::Down {
                until: Instant::now(),
            },
        }
    }

    pub(crate) fn lease(&self) -> i64 {
        self.lease
    }

    /// How long an answer may take: so short that another member can be asked twice before the
    /// lease ends.
    fn patience(&self) -> Duration {
        (self.interval / 2).min(self.config.probe_timeout)
    }

    /// Waits for the next thing that etcd says of the lease. Cancellation safe.
    pub(crate) async fn next(&mut self) -> Beat {
        loop {
            match &mut self.state {
                State::Down { until } => {
                    sleep_until(*until).await;
                    let (link, lease) = (self.link.clone(), self.lease);
                    let (interval, patience) = (self.interval, self.patience());
                    self.state =
                        State::Opening(Box::pin(open(link, lease, interval, patience * 2)));
                }
                State::Opening(opening) => match opening.await {
                    Ok(up) => {
                        self.refusals = 0;
                        self.state = State::Up(Box::new(up));
                        return Beat::Alive;
                    }
                    Err(Failure::Etcd(error)) if error::is_lease_not_found(&error) => {
                        return Beat::Lost;
                    }
                    Err(failure) => {
                        let error = Error::from(failure);
                        let pause = self.pause_after(&error);
                        tracing::debug!(
                            lease = self.lease, %error, ?pause,
                            "keep-alive stream not opened"
                        );
                        telemetry::keepalive_failed();
                        self.state = State::Down {
                            until: Instant::now() + pause,
                        };
                    }
                },
                State::Up(_) => {
                    if let Some(beat) = self.listen().await {
                        return beat;
                    }
                }
            }
        }
    }

    /// How long to leave etcd alone. Where it refuses us, three times within a TTL and ever more
    /// rarely then: rights may be granted again, but hardly by asking for them.
    fn pause_after(&mut self, error: &Error) -> Duration {
        if error.is_transient() {
            return self.backoff.next().unwrap_or(Duration::from_secs(1));
        }
        self.refusals = self.refusals.saturating_add(1);
        let doublings = self.refusals.saturating_sub(3).min(16);
        let pause = self.interval * (1 << doublings);
        pause.min(RAREST.max(self.interval))
    }

    /// One step of an open stream.
    async fn listen(&mut self) -> Option<Beat> {
        let patience = self.patience();
        let State::Up(up) = &mut self.state else {
            return None;
        };
        let deadline = match (up.sent, &up.doubt) {
            (None, _) => up.next,
            (Some(sent), Doubt::None) => sent + patience / 2,
            (Some(sent), Doubt::Asking(_) | Doubt::Asked) => sent + patience,
        };
        let why = tokio::select! {
            answer = up.answers.message() => match answer {
                Ok(Some(answer)) if answer.ttl() > 0 => {
                    up.was_answered();
                    return Some(Beat::Alive);
                }
                Ok(Some(_)) => return Some(Beat::Lost),
                Ok(None) => Error::unavailable("the keep-alive stream ended"),
                Err(error) => error::translate(error),
            },
            left = up.doubt.answer() => match left {
                Ok(left) if left < 0 => return Some(Beat::Lost),
                Ok(left) if is_prolonged(left, self.interval) => {
                    up.was_answered();
                    return Some(Beat::Alive);
                }
                _ => return None,
            },
            changed = self.epochs.changed() => {
                if changed.is_ok() && *self.epochs.borrow_and_update() == up.epoch {
                    return None;
                }
                Error::unavailable("the connection was given up")
            }
            () = sleep_until(deadline) => match (up.sent, &up.doubt) {
                (None, _) => {
                    let now = Instant::now();
                    up.sent = Some(now);
                    up.doubt = Doubt::None;
                    up.next = now + self.interval;
                    // One beat at a time in a queue of a hundred: there is room.
                    match up.keeper.keep_alive().await {
                        Ok(()) => return None,
                        Err(error) => error::translate(error),
                    }
                }
                (Some(_), Doubt::None) => {
                    let asking = seconds_left(self.link.clone(), self.lease, patience);
                    up.doubt = Doubt::Asking(Box::pin(asking));
                    return None;
                }
                (Some(sent), _) => Error::Timeout {
                    operation: "keep-alive",
                    after: sent.elapsed(),
                },
            },
        };
        // The link says whether the connection is given up.
        tracing::debug!(lease = self.lease, error = %why, "keep-alive interrupted");
        telemetry::keepalive_failed();
        self.link.fail(up.epoch, &why);
        // A stream that held is replaced at once, one that broke at its first beat is not.
        let mut until = Instant::now();
        if up.steady {
            self.backoff = backoff();
        } else {
            until += self.backoff.next().unwrap_or(Duration::from_secs(1));
        }
        self.state = State::Down { until };
        None
    }
}

impl Up {
    fn was_answered(&mut self) {
        self.sent = None;
        self.doubt = Doubt::None;
        self.steady = true;
    }
}

impl Doubt {
    /// The answer to the question. Cancellation safe.
    async fn answer(&mut self) -> Result<i64, Failure> {
        let Self::Asking(asking) = self else {
            return pending().await;
        };
        let left = asking.await;
        *self = Self::Asked;
        left
    }
}

/// Whether a lease of which so many seconds are left, rounded down, was prolonged of late: it
/// outlives the next beat.
fn is_prolonged(left: i64, interval: Duration) -> bool {
    u64::try_from(left).is_ok_and(|left| Duration::from_secs(left) >= interval)
}

async fn seconds_left(link: Arc<Link>, lease: i64, within: Duration) -> Result<i64, Failure> {
    link.call_within(within, "lease time to live", async |connection| {
        let mut leases = connection.client.lease_client();
        leases.time_to_live(lease, None).await
    })
    .await
    .map(|answer| answer.ttl())
}

/// Opens a stream; its first beat is answered then.
async fn open(
    link: Arc<Link>,
    lease: i64,
    interval: Duration,
    within: Duration,
) -> Result<Up, Failure> {
    link.call_within(within, "keep-alive", async |connection| {
        let epoch = connection.epoch;
        let (keeper, answers) = connection.client.lease_client().keep_alive(lease).await?;
        Ok(Up {
            epoch,
            keeper,
            answers,
            sent: None,
            doubt: Doubt::None,
            next: Instant::now() + interval,
            steady: false,
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
    use proptest::prelude::*;

    #[test]
    fn a_lease_that_outlives_the_next_beat_was_prolonged_of_late() {
        let interval = Duration::from_secs(3);
        let is_prolonged = [0, 2, 3, 9].map(|left| is_prolonged(left, interval));
        assert_eq!(is_prolonged, [false, false, true, true]);
    }

    proptest! {
        #![proptest_config(cases(2))]

        /// It is etcd's word, or that of whoever answers in its place.
        #[test]
        fn any_time_that_is_left_is_understood(
            left in prop_oneof![any::<i64>(), Just(i64::MAX), Just(i64::MIN)],
            interval in 1..30_000_u64,
        ) {
            is_prolonged(left, Duration::from_secs(interval));
        }
    }
}
