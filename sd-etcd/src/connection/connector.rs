//! The connection to etcd, and requests on it.
//!
//! An `etcd-client` with several endpoints spreads its calls over all of them: with one of three
//! members frozen, a third of the calls time out. So every connection here has one endpoint.

use super::{
    authenticator::{Authenticator, Member, NoToken},
    dialer::Dialer,
    failover::{Failover, GivenUp},
    latency::Latency,
    limit::Limit,
    members::Members,
    meters,
    turns::Turns,
};
use crate::{
    config::{Endpoint, Options},
    errors,
    support::count,
};
use etcd_client::{Client, Error as EtcdError};
use futures::{FutureExt, future::BoxFuture, future::Shared};
use sd_core::{Error, ErrorChain, Escaped, Result};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// A connection to one member, in use until it is given up. It is shared, as it is large and all futures of a request
/// have it.
pub(crate) struct Connection {
    pub(crate) epoch: u64,
    pub(crate) client: Client,
    member: Endpoint,
    address: SocketAddr,
    /// The addresses of the member that were not tried.
    rest: Vec<SocketAddr>,
    turns: Turns,
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

type Connecting = Shared<BoxFuture<'static, Result<Arc<Connection>>>>;

struct State {
    failover: Failover,
    connecting: Option<Connecting>,
    latency: Latency,
    /// When etcd said something on a stream of the current connection last.
    streamed: Option<Instant>,
}

/// Connects to one member at a time and makes requests.
pub(crate) struct Connector {
    options: Arc<Options>,
    members: Arc<Members>,
    dialer: Arc<Dialer>,
    /// Absent if there is no user.
    authenticator: Option<Arc<Authenticator>>,
    /// What it is used for, in logs and metrics.
    purpose: &'static str,
    state: Mutex<State>,
    epoch: watch::Sender<u64>,
}

impl Connector {
    /// Creates a connector. Connects at the first request.
    pub(crate) fn new(
        options: Arc<Options>,
        members: Arc<Members>,
        dialer: Arc<Dialer>,
        authenticator: Option<Arc<Authenticator>>,
        purpose: &'static str,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                failover: Failover::new(&members.get()),
                connecting: None,
                latency: Latency::default(),
                streamed: None,
            }),
            options,
            members,
            dialer,
            authenticator,
            purpose,
            epoch: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current connection, and makes it if there is none. Concurrent callers share one
    /// attempt. Cancellation safe.
    async fn connection(&self) -> Result<Arc<Connection>> {
        let (epoch, connecting) = {
            let mut state = self.state();
            let epoch = state.failover.epoch;
            let connecting = match &state.connecting {
                Some(connecting) => connecting.clone(),
                None => {
                    let pause = state.failover.pause(self.members.get().len());
                    let connecting = connect(
                        self.dialer.clone(),
                        epoch,
                        state.failover.member.clone(),
                        state.failover.addresses.clone(),
                        pause,
                    );
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

    /// Returns the current connection, once there is a token for requests on it. Also for a stream whose end is
    /// no fault of the connection.
    pub(crate) async fn connected(&self) -> Result<Arc<Connection>> {
        let connection = self.connection().await?;
        if let Some(authenticator) = &self.authenticator {
            let ensured = authenticator.ensure(self.member(&connection)).await;
            self.check(connection.epoch, ensured)?;
        }
        Ok(connection)
    }

    /// Returns the number of the token that requests show now.
    fn token(&self) -> u64 {
        self.authenticator.as_ref().map_or(0, |it| it.generation())
    }

    fn member<'a>(&self, connection: &'a Connection) -> Member<'a> {
        Member {
            connection: (self.purpose, connection.epoch),
            endpoint: connection.member.url(),
            client: &connection.client,
        }
    }

    /// Gives up connection `epoch` if that is why there is no token.
    fn check(&self, epoch: u64, authenticated: Result<(), NoToken>) -> Result<()> {
        authenticated.map_err(|failed| {
            if failed.is_member_fault {
                self.give_up(epoch, &failed.error);
            }
            failed.error
        })
    }

    /// Gives up connection `epoch`. The next request goes to the next address or member. Does nothing
    /// if the connection was given up already.
    pub(crate) fn give_up(&self, epoch: u64, why: &Error) {
        let GivenUp {
            member,
            next,
            is_first,
        } = {
            let mut state = self.state();
            let connection = state.connecting.as_ref().and_then(Connecting::peek);
            let (rest, turns) = match connection {
                Some(Ok(connection)) => (connection.rest.clone(), Some(connection.turns.clone())),
                Some(Err(_)) | None => (Vec::new(), None),
            };
            let (failover, members) = (&mut state.failover, self.members.get());
            let Some(given_up) = failover.give_up(epoch, rest, &members, Instant::now()) else {
                return;
            };
            self.epoch.send_replace(failover.epoch);
            turns.iter().for_each(Turns::end);
            state.connecting = None;
            state.streamed = None;
            given_up
        };
        count(
            meters::CONNECTIONS_GIVEN_UP,
            Some(("purpose", self.purpose)),
            1,
        );
        if is_first {
            tracing::warn!(
                purpose = self.purpose, member = %Escaped(member), next = %Escaped(next), error = %ErrorChain(why),
                "connection to etcd given up, trying the next member"
            );
        } else {
            tracing::debug!(
                purpose = self.purpose, member = %Escaped(member), next = %Escaped(next), error = %ErrorChain(why),
                "connection to etcd given up again"
            );
        }
    }

    /// Leaves a member that is none of the client's any more.
    pub(crate) fn members_changed(&self) {
        let epoch = {
            let (mut state, members) = (self.state(), self.members.get());
            if members.contains(&state.failover.member) {
                return;
            }
            if state.connecting.is_none() {
                return state.failover.move_on(&members);
            }
            state.failover.epoch
        };
        let why = Error::unavailable("the member is not among the endpoints any more");
        self.give_up(epoch, &why);
    }

    /// Notes that a connection answered a request, which took so long.
    fn answered(&self, connection: &Connection, took: Duration) {
        let warned_at = self.state().failover.answered(connection.epoch);
        let (purpose, member) = (self.purpose, &connection.member);
        if let Some(since) = warned_at {
            let after = since.elapsed();
            match member.ip() {
                Some(_) => {
                    tracing::info!(purpose, member = %Escaped(member), ?after, "connected to etcd again")
                }
                None => {
                    let address = connection.address;
                    tracing::info!(purpose, member = %Escaped(member), address = %Escaped(address), ?after, "connected to etcd again");
                }
            }
        }
        // In between, it may be a large answer.
        let interval = self.options.probe_interval;
        if took >= interval || took < interval / 3 {
            self.took(member, took, took >= interval);
        }
    }

    fn took(&self, member: &Endpoint, took: Duration, was_slow: bool) {
        if self.state().latency.answered(was_slow) {
            let (purpose, interval) = (self.purpose, self.options.probe_interval);
            tracing::warn!(
                purpose, member = %Escaped(member), ?took, ?interval,
                "etcd answers, but too slowly for the liveness interval: its silences mean nothing"
            );
        }
    }

    /// Notes that etcd answered on a stream after so long, and whether that was taken for a silence.
    pub(crate) fn probed(&self, took: Duration, was_silence: bool) {
        let member = self.state().failover.member.clone();
        self.took(&member, took, was_silence);
    }

    /// Whether etcd answers so slowly that a silence is nothing to warn of.
    pub(crate) fn is_slow(&self) -> bool {
        self.state().latency.is_slow()
    }

    /// Notes that etcd said something on a stream of connection `epoch`.
    pub(crate) fn streamed(&self, epoch: u64) {
        let mut state = self.state();
        if state.failover.epoch == epoch {
            state.streamed = Some(Instant::now());
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
    /// `request` is called again if etcd refused the token, and so did nothing.
    pub(crate) async fn call<T, F>(
        &self,
        operation: &'static str,
        request: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let limit = Limit::after(self.options.request_timeout);
        self.call_within(limit, operation, request).await
    }

    /// Like [`call`](Self::call), within `limit`. Connecting, authenticating and waiting for a turn do not count.
    pub(crate) async fn call_within<T, F>(
        &self,
        limit: Limit,
        operation: &'static str,
        request: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let connected = self.unless_given_up(&limit, operation, self.connected());
        let connection = connected.await?;
        let turn = async {
            match limit.is_in_turn() {
                true => connection.turns.take().await.map(Some),
                false => Ok(None),
            }
        };
        let _turn = self.unless_given_up(&limit, operation, turn).await?;
        // In memory of its own, which is taken only now: many requests may wait for their turn, or for a connection.
        let asked = Box::pin(self.ask(&connection, limit, operation, request));
        let (token, answer) = asked.await?;
        if let Some(authenticator) = &self.authenticator {
            authenticator.accepted(token);
        }
        Ok(answer)
    }

    /// Like [`call_within`](Self::call_within), without waiting for a token: etcd asks for one, or it
    /// does not.
    pub(crate) async fn call_at_once<T, F>(
        &self,
        limit: Limit,
        operation: &'static str,
        request: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let connected = self.unless_given_up(&limit, operation, self.connection());
        let connection = connected.await?;
        let asked = self.ask(&connection, limit, operation, request);
        asked.await.map(|(_, answer)| answer)
    }

    /// Makes one request, and again if etcd refused its token. Returns the number of the token that was not refused.
    async fn ask<T, F>(
        &self,
        connection: &Arc<Connection>,
        limit: Limit,
        operation: &'static str,
        request: impl Fn(Arc<Connection>) -> F,
    ) -> Result<(u64, T), CallError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let epoch = connection.epoch;
        let mut token = self.token();
        let mut sent = Instant::now();
        let mut answer = limit.apply(request(connection.clone())).await;
        if let Ok(Err(error)) = &answer
            && let Some(authenticator) = &self.authenticator
            && errors::wants_token(error)
        {
            let renewed = async {
                let renewed = authenticator.renew(self.member(connection), token).await;
                self.check(epoch, renewed)
            };
            self.unless_given_up(&limit, operation, renewed).await?;
            token = self.token();
            sent = Instant::now();
            answer = limit.apply(request(connection.clone())).await;
        }
        let error = match answer {
            Ok(Ok(answer)) => {
                self.answered(connection, sent.elapsed());
                return Ok((token, answer));
            }
            Ok(Err(error)) if errors::is_member_fault(&error) => {
                let is_new = self.state().failover.is_new(epoch);
                errors::translate_at(connection.member.url(), is_new, error)
            }
            Ok(Err(error)) => {
                self.answered(connection, sent.elapsed());
                if !errors::is_refused(&error) {
                    return Err(CallError::Etcd(error));
                }
                let user = self.authenticator.as_ref().and_then(|it| it.user());
                let error = errors::translate_refused(user.as_deref(), operation, error);
                return Err(CallError::Other(error));
            }
            Err(after) => self.unanswered(operation, sent, after),
        };
        self.give_up(epoch, &error);
        Err(CallError::Other(error))
    }

    /// Waits for what has to come before a request is sent, unless the request is given up.
    async fn unless_given_up<T>(
        &self,
        limit: &Limit,
        operation: &'static str,
        prepared: impl Future<Output = Result<T>>,
    ) -> Result<T, CallError> {
        let started_at = Instant::now();
        let prepared = tokio::select! {
            biased;
            prepared = prepared => prepared,
            () = limit.given_up() => Err(Error::Timeout {
                operation,
                after: started_at.elapsed(),
            }),
        };
        prepared.map_err(CallError::Other)
    }

    /// Returns the error for a request that was not answered. An etcd that goes on with a stream of
    /// the connection meanwhile is not frozen: it may not have let the request through at all.
    fn unanswered(&self, operation: &'static str, sent: Instant, after: Duration) -> Error {
        let streamed = self.state().streamed;
        if streamed.is_some_and(|streamed| streamed > sent + after / 2) {
            return Error::unavailable(format!(
                "no answer to {operation} within {after:?}, while etcd answers on a stream of the \
                 same connection: its --max-concurrent-streams may be too low, or the network too \
                 slow for the answer"
            ));
        }
        Error::Timeout { operation, after }
    }
}

/// Connects to `member` after `pause`.
fn connect(
    dialer: Arc<Dialer>,
    epoch: u64,
    member: Endpoint,
    addresses: Vec<SocketAddr>,
    pause: Duration,
) -> Connecting {
    let connecting = async move {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let dialed = dialer.dial(&member, addresses).await?;
        Ok(Arc::new(Connection {
            epoch,
            client: dialed.client,
            member,
            address: dialed.address,
            rest: dialed.rest,
            turns: Turns::new(),
        }))
    };
    connecting.boxed().shared()
}
