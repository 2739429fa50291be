//! A link: one connection to one member at a time.
//!
//! A client that is given several endpoints at once spreads its calls over all, so that with one of
//! three frozen a third of them time out. A link connects to one, chosen at random at the start,
//! keeps it while it works, and goes on to the next when it does not. When it has been to all of
//! them in vain it pauses, for everybody who waits: of a thousand callers each has a patience of
//! its own, but an etcd that starts is not to be met by all of them.

use crate::{config::Config, error, telemetry};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use etcd_client::{Client, Error as EtcdError};
use futures::{FutureExt, future::BoxFuture, future::Shared};
use sd_core::{Error, Result};
use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// The longest pause before the members are tried again.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A connection that works as far as anybody knows.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Which of the link's connections it is.
    pub(crate) epoch: u64,
    /// Whose it is, as an index of the endpoints.
    member: usize,
    pub(crate) client: Client,
}

/// Why a call failed.
pub(crate) enum Failure {
    /// What etcd said of it, for those who look closer.
    Etcd(EtcdError),
    /// etcd could not be reached, did not serve, or refuses this user.
    Other(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Etcd(error) => error::translate(error),
            Failure::Other(error) => error,
        }
    }
}

type Connecting = Shared<BoxFuture<'static, Result<Connection>>>;

struct Slot {
    epoch: u64,
    member: usize,
    /// The connection has answered something.
    good: bool,
    /// Connections given up since the last pause or good answer.
    failures: usize,
    /// The pauses to come; from the beginning again after a good answer.
    pauses: Option<ExponentialBackoff>,
    /// Since when there was no good answer: since a connection was given up, which was said.
    troubled: Option<Instant>,
    /// No good answer since a token was refused. Tokens expire, and a new connection has a new one:
    /// that is news only if it does not help.
    renewed: bool,
    connecting: Option<Connecting>,
}

pub(crate) struct Link {
    config: Arc<Config>,
    /// What it is for, in the logs.
    purpose: &'static str,
    slot: Mutex<Slot>,
    epoch: watch::Sender<u64>,
}

impl Link {
    pub(crate) fn new(config: Arc<Config>, purpose: &'static str) -> Self {
        Self {
            slot: Mutex::new(Slot {
                epoch: 0,
                member: fastrand::usize(..config.endpoints.len()),
                good: false,
                failures: 0,
                pauses: None,
                troubled: None,
                renewed: false,
                connecting: None,
            }),
            config,
            purpose,
            epoch: watch::Sender::new(0),
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current connection, made if there is none; whoever asks meanwhile waits for the same
    /// one. Cancellation safe.
    pub(crate) async fn connection(&self) -> Result<Connection> {
        let (epoch, connecting) = {
            let mut slot = self.slot();
            let (epoch, member) = (slot.epoch, slot.member);
            let connecting = match &slot.connecting {
                Some(connecting) => connecting.clone(),
                None => {
                    let pause = slot.pause(self.config.endpoints.len());
                    let connecting =
                        connect(self.config.clone(), self.purpose, epoch, member, pause);
                    slot.connecting.insert(connecting).clone()
                }
            };
            (epoch, connecting)
        };
        let result = connecting.await;
        if let Err(error) = &result {
            self.fail(epoch, error);
        }
        result
    }

    /// Gives up connection `epoch`; the next call takes the next member. A later connection is left
    /// alone, so that of many calls that fail together only one counts.
    pub(crate) fn fail(&self, epoch: u64, why: &impl Display) {
        let is_renewal = error::is_token_refused(&why.to_string());
        let (member, next, is_news) = {
            let mut slot = self.slot();
            if slot.epoch != epoch {
                return;
            }
            let member = slot.member;
            slot.epoch += 1;
            slot.failures += 1;
            slot.member = (member + 1) % self.config.endpoints.len();
            slot.good = false;
            slot.connecting = None;
            self.epoch.send_replace(slot.epoch);
            let is_news = slot.is_news(is_renewal, Instant::now());
            (member, slot.member, is_news)
        };
        telemetry::connection_given_up(self.purpose);
        let endpoints = &self.config.endpoints;
        let (member, next) = (&endpoints[member], &endpoints[next]);
        if is_news {
            tracing::warn!(
                purpose = self.purpose, %member, %next, error = %why,
                "connection to etcd given up, trying the next member"
            );
        } else {
            tracing::debug!(
                purpose = self.purpose, %member, %next, error = %why,
                "connection to etcd given up again"
            );
        }
    }

    /// Takes note that connection `epoch` is good.
    fn answered(&self, epoch: u64) {
        let (troubled, member) = {
            let mut slot = self.slot();
            if slot.epoch != epoch {
                return;
            }
            slot.good = true;
            slot.failures = 0;
            slot.pauses = None;
            slot.renewed = false;
            (slot.troubled.take(), slot.member)
        };
        if let Some(since) = troubled {
            let (member, after) = (&self.config.endpoints[member], since.elapsed());
            tracing::info!(purpose = self.purpose, %member, ?after, "connected to etcd again");
        }
    }

    /// Whether connection `epoch` has answered nothing yet.
    fn is_new(&self, epoch: u64) -> bool {
        let slot = self.slot();
        slot.epoch == epoch && !slot.good
    }

    /// Changes with every connection that is given up.
    pub(crate) fn epochs(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// Drops the connection, for good if nobody calls again.
    pub(crate) fn disconnect(&self) {
        self.slot().connecting = None;
    }

    /// Makes one request on the current connection, within the request timeout. Cancellation safe;
    /// whether a request that failed or was cancelled took effect is unknown.
    pub(crate) async fn call<T>(
        &self,
        operation: &'static str,
        request: impl AsyncFnOnce(Connection) -> Result<T, EtcdError>,
    ) -> Result<T, Failure> {
        self.call_within(self.config.request_timeout, operation, request)
            .await
    }

    /// The same within `after`.
    pub(crate) async fn call_within<T>(
        &self,
        after: Duration,
        operation: &'static str,
        request: impl AsyncFnOnce(Connection) -> Result<T, EtcdError>,
    ) -> Result<T, Failure> {
        let patience = async move {
            sleep(after).await;
            after
        };
        self.call_with(patience, operation, request).await
    }

    /// The same until `patience` is over, which says how long that was.
    pub(crate) async fn call_with<T>(
        &self,
        patience: impl Future<Output = Duration>,
        operation: &'static str,
        request: impl AsyncFnOnce(Connection) -> Result<T, EtcdError>,
    ) -> Result<T, Failure> {
        let connection = self.connection().await.map_err(Failure::Other)?;
        let (epoch, member) = (connection.epoch, connection.member);
        let answer = tokio::select! {
            biased;
            answer = request(connection) => Ok(answer),
            after = patience => Err(after),
        };
        match answer {
            Ok(Ok(answer)) => {
                self.answered(epoch);
                Ok(answer)
            }
            Ok(Err(error)) if self.config.user.is_some() && error::misses_user(&error) => {
                let endpoint = &self.config.endpoints[member];
                let error = error::translate_outdated(endpoint, error);
                self.fail(epoch, &error);
                Err(Failure::Other(error))
            }
            Ok(Err(error)) if error::blames_the_member(&error) => {
                let endpoint = &self.config.endpoints[member];
                let error = error::translate_from(endpoint, self.is_new(epoch), error);
                self.fail(epoch, &error);
                Err(Failure::Other(error))
            }
            Ok(Err(error)) => {
                self.answered(epoch);
                if !error::is_refused(&error) {
                    return Err(Failure::Etcd(error));
                }
                let user = self.config.user.as_ref().map(|(name, _)| name.as_str());
                let error = error::translate_refused(user, operation, error);
                Err(Failure::Other(error))
            }
            Err(after) => {
                let error = Error::Timeout { operation, after };
                self.fail(epoch, &error);
                Err(Failure::Other(error))
            }
        }
    }
}

impl Slot {
    /// Whether it is to be said that a connection is given up: the first time since a good answer.
    fn is_news(&mut self, is_renewal: bool, now: Instant) -> bool {
        if is_renewal && !std::mem::replace(&mut self.renewed, true) {
            return false;
        }
        let is_news = self.troubled.is_none();
        self.troubled.get_or_insert(now);
        is_news
    }

    /// How long to wait before the next connection: not at all while there are members that were
    /// not tried yet.
    fn pause(&mut self, members: usize) -> Duration {
        if self.failures < members {
            return Duration::ZERO;
        }
        self.failures = 0;
        let pauses = self.pauses.get_or_insert_with(|| {
            // The crate's jitter adds up to the delay itself.
            ExponentialBuilder::new()
                .with_jitter()
                .with_min_delay(Duration::from_millis(10))
                .with_max_delay(LONGEST_PAUSE / 2)
                .without_max_times()
                .build()
        });
        pauses.next().unwrap_or(LONGEST_PAUSE)
    }
}

fn connect(
    config: Arc<Config>,
    purpose: &'static str,
    epoch: u64,
    member: usize,
    pause: Duration,
) -> Connecting {
    let dial = async move {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let endpoint = config.endpoints[member].as_str();
        // Without credentials this is lazy and succeeds at once, whoever listens there; with them
        // it is a round trip.
        let connecting = async {
            let client = Client::connect([endpoint], Some(config.connect.clone())).await;
            match client {
                Err(error) if error::has_no_users(&error) => {
                    tracing::warn!(
                        purpose,
                        member = endpoint,
                        "etcd has no users, and serves the one that was given as everybody"
                    );
                    Client::connect([endpoint], Some(config.anonymous.clone())).await
                }
                client => client,
            }
        };
        let client = timeout(config.dial_timeout, connecting)
            .await
            .map_err(|_| Error::Timeout {
                operation: "connect",
                after: config.dial_timeout,
            })?
            .map_err(|error| error::translate_from(endpoint, true, error))?;
        Ok(Connection {
            epoch,
            member,
            client,
        })
    };
    dial.boxed().shared()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot {
            epoch: 0,
            member: 0,
            good: false,
            failures: 0,
            pauses: None,
            troubled: None,
            renewed: false,
            connecting: None,
        }
    }

    #[test]
    fn a_token_that_expires_is_no_news_unless_a_new_one_is_refused_too() {
        let now = Instant::now();
        let mut slot = slot();
        let mut told = Vec::new();
        for is_renewal in [true, true, true] {
            told.push(slot.is_news(is_renewal, now));
        }
        assert_eq!(told, [false, true, false]);

        let mut slot = self::slot();
        assert!(slot.is_news(false, now), "an outage");
        assert!(!slot.is_news(true, now));
        assert!(slot.troubled.is_some());
    }

    #[test]
    fn all_members_are_tried_before_a_pause_and_pauses_grow() {
        let mut slot = slot();
        let mut round = || {
            let mut pauses = [Duration::MAX; 3];
            for pause in &mut pauses {
                *pause = slot.pause(3);
                slot.failures += 1;
            }
            pauses
        };

        assert_eq!(round(), [Duration::ZERO; 3]);
        let later: Vec<_> = (0..10).map(|_| round()).collect();

        assert!(later.iter().all(|round| round[1..] == [Duration::ZERO; 2]));
        assert!(later[0][0] >= Duration::from_millis(10));
        assert!((LONGEST_PAUSE / 2..=LONGEST_PAUSE).contains(&later[9][0]));
    }
}
