//! The test's own calls to its etcd, counted apart from those under test.

use super::{http, member::Member, metrics::Calls, tls::ServerTls};
use crate::network::Relay;
use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use std::{collections::HashSet, fmt, io, net::SocketAddr, time::Duration};
use tokio::sync::{Mutex, MutexGuard};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A client that counts its calls, over connections that can be identified.
pub(crate) struct Admin {
    relay: Relay,
    /// The address of etcd's health and metrics in plain text.
    http: SocketAddr,
    tls: Option<TlsOptions>,
    /// Locked during a call, so that nobody reads etcd's counters before the call is counted here.
    session: Mutex<Session>,
}

/// The state for one run of the process.
#[derive(Default)]
struct Session {
    client: Option<Client>,
    calls: Calls,
    /// Kept over restarts of the process.
    user: Option<(String, String)>,
}

/// The calls so far. No call is made while this is held.
pub(crate) struct Asked<'a>(MutexGuard<'a, Session>);

impl Admin {
    pub(crate) fn new(etcd: &Member, tls: Option<&ServerTls>) -> Self {
        let relay = Relay::to(etcd.clients);
        Self {
            http: tls.map_or(relay.address(), |_| etcd.counters),
            tls: tls.map(|tls| {
                let tester = Identity::from_pem(&tls.tester.certificate, &tls.tester.key);
                TlsOptions::new()
                    .ca_certificate(Certificate::from_pem(&tls.ca))
                    .identity(tester)
            }),
            relay,
            session: Mutex::default(),
        }
    }

    /// Makes one call. Counts it if etcd answers, even with an error.
    pub(crate) async fn ask<T, F>(
        &self,
        method: &str,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut session = self.session.lock().await;
        let client = self.connected(&mut session).await?;
        if session.user.is_some() {
            // Our token may have expired, and a call that renews it on its way would not be
            // counted.
            client.refresh_token().await?;
            session.count("Authenticate");
        }
        let answer = call(client).await;
        if answer.as_ref().err().is_none_or(is_from_etcd) {
            session.count(method);
        }
        answer
    }

    /// Makes a plain HTTP request, which etcd does not count.
    pub(crate) async fn http_get(&self, path: &str) -> io::Result<String> {
        http::get(self.http, path).await
    }

    /// The ports of its own connections.
    pub(crate) fn ports(&self) -> HashSet<u16> {
        self.relay.ports()
    }

    pub(crate) async fn client(&self) -> Client {
        let mut session = self.session.lock().await;
        self.connected(&mut session)
            .await
            .unwrap_or_else(|error| panic!("the test itself cannot connect: {error}"))
    }

    /// Authenticates as this user from now on.
    pub(crate) async fn identify(&self, user: Option<(&str, &str)>) {
        let mut session = self.session.lock().await;
        session.user = user.map(|(name, password)| (name.to_owned(), password.to_owned()));
        session.client = None;
    }

    async fn connected(&self, session: &mut Session) -> Result<Client, Error> {
        if let Some(client) = &session.client {
            return Ok(client.clone());
        }
        let mut options = ConnectOptions::new()
            .with_connect_timeout(ANSWER_WITHIN)
            .with_timeout(ANSWER_WITHIN)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &session.user {
            options = options.with_user(name, password);
        }
        let mut scheme = "http";
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.clone());
            scheme = "https";
        }
        let endpoint = format!("{scheme}://{}", self.relay.address());
        let client = Client::connect([endpoint], Some(options)).await?;
        if session.user.is_some() {
            session.count("Authenticate");
        }
        Ok(session.client.insert(client).clone())
    }

    pub(crate) async fn asked(&self) -> Asked<'_> {
        Asked(self.session.lock().await)
    }

    /// Starts over after a restart of etcd, which needs a new connection and counts from zero.
    pub(crate) async fn reset(&self) {
        let mut session = self.session.lock().await;
        session.client = None;
        session.calls.clear();
    }
}

impl Asked<'_> {
    pub(crate) fn calls(&self) -> &Calls {
        &self.0.calls
    }
}

impl Session {
    fn count(&mut self, method: &str) {
        *self.calls.entry(method.to_owned()).or_default() += 1;
    }
}

/// Whether the error is etcd's answer, rather than one of the connection.
fn is_from_etcd(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().starts_with("etcdserver: "))
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}
