//! The connection to etcd, and requests on it.
//!
//! An `etcd-client` with several endpoints spreads its calls over all of them: with one of three
//! members frozen, a third of the calls time out. So every connection here has one endpoint.

use super::{failover::Failover, meters};
use crate::{config::Options, errors, support::count};
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

/// A connection to one member, in use until it is given up.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) epoch: u64,
    member: usize,
    pub(crate) client: Client,
}

pub(crate) enum CallError {
    /// etcd answered with an error that concerns the request.
    Etcd(EtcdError),
    /// etcd could not be reached, did not serve, or refuses this user.
    Other(Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Etcd(error) => errors::translate(error),
            CallError::Other(error) => error,
        }
    }
}

type Connecting = Shared<BoxFuture<'static, Result<Connection>>>;

struct State {
    failover: Failover,
    connecting: Option<Connecting>,
}

/// Connects to one member at a time and makes requests.
pub(crate) struct Connector {
    options: Arc<Options>,
    /// What it is used for, in logs and metrics.
    purpose: &'static str,
    state: Mutex<State>,
    epoch: watch::Sender<u64>,
}

impl Connector {
    pub(crate) fn new(options: Arc<Options>, purpose: &'static str) -> Self {
        Self {
            state: Mutex::new(State {
                failover: Failover::new(options.endpoints.len()),
                connecting: None,
            }),
            options,
            purpose,
            epoch: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current connection, and makes it if there is none. Concurrent callers share one
    /// attempt. Cancellation safe.
    async fn connection(&self) -> Result<Connection> {
        let (epoch, connecting) = {
            let mut state = self.state();
            let epoch = state.failover.epoch;
            let connecting = match &state.connecting {
                Some(connecting) => connecting.clone(),
                None => {
                    let (member, pause) = (state.failover.member, state.failover.pause());
                    let options = self.options.clone();
                    let connecting = connect(options, self.purpose, epoch, member, pause);
                    state.connecting.insert(connecting).clone()
                }
            };
            (epoch, connecting)
        };
        let result = connecting.await;
        if let Err(error) = &result {
            self.give_up(epoch, error);
        }
        result
    }

    /// Gives up connection `epoch`. The next request goes to the next member. Does nothing if the
    /// connection was given up already.
    pub(crate) fn give_up(&self, epoch: u64, why: &impl Display) {
        let is_token_refused = errors::is_token_refused(&why.to_string());
        let (member, next, is_first) = {
            let mut state = self.state();
            let member = state.failover.member;
            let given_up = state
                .failover
                .give_up(epoch, is_token_refused, Instant::now());
            let Some(is_first) = given_up else {
                return;
            };
            self.epoch.send_replace(state.failover.epoch);
            state.connecting = None;
            (member, state.failover.member, is_first)
        };
        count(
            meters::CONNECTIONS_GIVEN_UP,
            Some(("purpose", self.purpose)),
            1,
        );
        let endpoints = &self.options.endpoints;
        let (member, next) = (&endpoints[member], &endpoints[next]);
        if is_first {
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

    fn answered(&self, epoch: u64, member: usize) {
        let warned_at = self.state().failover.answered(epoch);
        if let Some(since) = warned_at {
            let (member, after) = (&self.options.endpoints[member], since.elapsed());
            tracing::info!(purpose = self.purpose, %member, ?after, "connected to etcd again");
        }
    }

    /// Returns a receiver of the current connection's number. It changes whenever a connection is
    /// given up.
    pub(crate) fn epochs(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }

    /// Closes the connection. A later request makes a new one.
    pub(crate) fn disconnect(&self) {
        self.state().connecting = None;
    }

    /// Makes one request on the current connection, within the request timeout.
    ///
    /// Cancellation safe. Whether a request that failed or was cancelled took effect is unknown.
    pub(crate) async fn call<T>(
        &self,
        operation: &'static str,
        request: impl AsyncFnOnce(Connection) -> Result<T, EtcdError>,
    ) -> Result<T, CallError> {
        self.call_until(after(self.options.request_timeout), operation, request)
            .await
    }

    /// Like [`call`](Self::call), until `timeout` resolves to how long that took.
    pub(crate) async fn call_until<T>(
        &self,
        timeout: impl Future<Output = Duration>,
        operation: &'static str,
        request: impl AsyncFnOnce(Connection) -> Result<T, EtcdError>,
    ) -> Result<T, CallError> {
        let connection = self.connection().await.map_err(CallError::Other)?;
        let (epoch, member) = (connection.epoch, connection.member);
        let endpoint = &self.options.endpoints[member];
        let answer = tokio::select! {
            biased;
            answer = request(connection) => Ok(answer),
            after = timeout => Err(after),
        };
        let error = match answer {
            Ok(Ok(answer)) => {
                self.answered(epoch, member);
                return Ok(answer);
            }
            Ok(Err(error)) if self.options.user.is_some() && errors::is_user_missing(&error) => {
                errors::translate_without_user(endpoint, error)
            }
            Ok(Err(error)) if errors::is_member_fault(&error) => {
                let is_new = self.state().failover.is_new(epoch);
                errors::translate_at(endpoint, is_new, error)
            }
            Ok(Err(error)) => {
                self.answered(epoch, member);
                if !errors::is_refused(&error) {
                    return Err(CallError::Etcd(error));
                }
                let user = self.options.user.as_ref().map(|(name, _)| name.as_str());
                let error = errors::translate_refused(user, operation, error);
                return Err(CallError::Other(error));
            }
            Err(after) => Error::Timeout { operation, after },
        };
        self.give_up(epoch, &error);
        Err(CallError::Other(error))
    }
}

/// Resolves after `timeout`, to that.
pub(crate) async fn after(timeout: Duration) -> Duration {
    sleep(timeout).await;
    timeout
}

/// Connects to `member` after `pause`. Without credentials `etcd-client` connects lazily and
/// succeeds at once, whoever listens there. With them this is a round trip.
fn connect(
    options: Arc<Options>,
    purpose: &'static str,
    epoch: u64,
    member: usize,
    pause: Duration,
) -> Connecting {
    let connecting = async move {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let endpoint = options.endpoints[member].as_str();
        let dial = async {
            let client = Client::connect([endpoint], Some(options.connect.clone())).await;
            match client {
                Err(error) if errors::is_auth_disabled(&error) => {
                    tracing::warn!(
                        purpose,
                        member = endpoint,
                        "etcd has no users, and serves the one that was given as everybody"
                    );
                    Client::connect([endpoint], Some(options.connect_anonymous.clone())).await
                }
                client => client,
            }
        };
        let client = timeout(options.dial_timeout, dial)
            .await
            .map_err(|_| Error::Timeout {
                operation: "connect",
                after: options.dial_timeout,
            })?
            .map_err(|error| errors::translate_at(endpoint, true, error))?;
        Ok(Connection {
            epoch,
            member,
            client,
        })
    };
    connecting.boxed().shared()
}
