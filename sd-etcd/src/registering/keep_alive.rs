//! Keeps one lease alive.
//!
//! A request is sent every third of the TTL. A request that is not answered in time is not a loss:
//! the connection is given up and the next member is asked, for as long as it takes. The lease is
//! lost only when etcd says that it does not exist.

mod stream;

use self::stream::Stream;
use super::meters;
use crate::{
    config::Options,
    connection::{CallError, Connector},
    errors,
    support::{count, retry_backoff},
};
use futures::future::BoxFuture;
use sd_core::{Backoff, Error, ErrorChain, Ttl};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// The longest pause while etcd refuses the requests of this user.
const MAX_REFUSED_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) enum KeepAliveEvent {
    /// etcd has renewed the lease, in answer to a request that was sent at `sent_at` or later.
    Renewed {
        /// The TTL of the lease, if etcd said it.
        ttl: Option<Ttl>,
        sent_at: Instant,
    },
    /// A request was not answered, or refused.
    Failed(Error),
    LeaseLost,
}

pub(super) struct KeepAlive {
    connector: Arc<Connector>,
    lease: i64,
    interval: Duration,
    /// How long an answer may take: so short that another member can be asked twice before the lease
    /// expires.
    patience: Duration,
    epochs: watch::Receiver<u64>,
    backoff: Backoff,
    /// How often etcd has refused this user since a stream was open.
    refusals: u32,
    state: State,
}

enum State {
    Waiting { until: Instant },
    Opening(BoxFuture<'static, Result<Stream, CallError>>),
    Open(Box<Stream>),
}

impl KeepAlive {
    /// Keeps `lease` alive. The first request is sent at once.
    pub(super) fn new(connector: Arc<Connector>, options: &Options, lease: i64, ttl: Ttl) -> Self {
        let interval = ttl.keep_alive_interval();
        Self {
            epochs: connector.epochs(),
            connector,
            lease,
            interval,
            patience: (interval / 2).min(options.probe_timeout),
            backoff: retry_backoff(),
            refusals: 0,
            state: State::Waiting {
                until: Instant::now(),
            },
        }
    }

    pub(super) fn lease(&self) -> i64 {
        self.lease
    }

    pub(super) async fn next(&mut self) -> KeepAliveEvent {
        loop {
            match &mut self.state {
                State::Waiting { until } => {
                    sleep_until(*until).await;
                    let connector = self.connector.clone();
                    let opening = Stream::open(connector, self.lease, self.interval, self.patience);
                    self.state = State::Opening(Box::pin(opening));
                }
                State::Opening(opening) => match opening.await {
                    Ok(stream) => {
                        self.refusals = 0;
                        let sent_at = stream.opened_at;
                        self.state = State::Open(Box::new(stream));
                        return KeepAliveEvent::Renewed { ttl: None, sent_at };
                    }
                    Err(CallError::Etcd(error)) if errors::is_lease_not_found(&error) => {
                        return KeepAliveEvent::LeaseLost;
                    }
                    Err(error) => {
                        let error = error.into();
                        self.not_opened(&error);
                        return KeepAliveEvent::Failed(error);
                    }
                },
                State::Open(stream) => match stream.next(&mut self.epochs).await {
                    Ok(event) => {
                        // etcd may have granted more than was asked for.
                        self.interval = stream.interval;
                        return event;
                    }
                    Err(error) => {
                        let (epoch, is_steady) = (stream.epoch, stream.is_steady);
                        self.interrupted(epoch, is_steady, &error);
                        return KeepAliveEvent::Failed(error);
                    }
                },
            }
        }
    }

    fn not_opened(&mut self, error: &Error) {
        let pause = if error.is_transient() {
            self.backoff.next_delay()
        } else {
            self.refused_pause()
        };
        count(meters::KEEPALIVE_FAILURES, None, 1);
        if !error.is_transient() {
            count(meters::KEEPALIVES_REFUSED, None, 1);
        }
        if self.refusals == 1 && !error.is_transient() {
            tracing::error!(
                lease = self.lease, error = %ErrorChain(error), ?pause,
                "keep-alives are refused: the lease ends until somebody changes that"
            );
        } else {
            tracing::debug!(lease = self.lease, error = %ErrorChain(error), ?pause, "keep-alive stream not opened");
        }
        self.state = State::Waiting {
            until: Instant::now() + pause,
        };
    }

    /// Returns the pause after etcd has refused this user: three times a third of the TTL, and then
    /// ever longer. Rights may be granted again at any time, but not because of more requests.
    fn refused_pause(&mut self) -> Duration {
        self.refusals = self.refusals.saturating_add(1);
        let doublings = self.refusals.saturating_sub(3).min(16);
        let pause = self.interval * (1 << doublings);
        pause.min(MAX_REFUSED_PAUSE.max(self.interval))
    }

    fn interrupted(&mut self, epoch: u64, is_steady: bool, error: &Error) {
        // The connector warns if this gives up the connection.
        tracing::debug!(lease = self.lease, error = %ErrorChain(error), "keep-alive interrupted");
        count(meters::KEEPALIVE_FAILURES, None, 1);
        // A token that has expired says nothing against the connection (3.7 ends the stream then).
        if !errors::is_token_refused(&error.to_string()) {
            self.connector.give_up(epoch, error);
        }
        // A stream that worked is replaced at once, one that broke at its first request is not.
        let mut until = Instant::now();
        if is_steady {
            self.backoff.reset();
        } else {
            until += self.backoff.next_delay();
        }
        self.state = State::Waiting { until };
    }
}
