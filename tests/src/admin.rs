//! The test's own calls to its etcd, told apart from those under test.

use crate::{http, metrics::Calls, relay::Relay};
use etcd_client::{Client, ConnectOptions, Error};
use std::{collections::HashSet, fmt, io, net::SocketAddr, time::Duration};
use tokio::sync::{Mutex, MutexGuard};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A client that counts what it asks, over connections that are known to be its own.
pub(crate) struct Admin {
    relay: Relay,
    /// Locked while a call is under way, so that nobody reads etcd's counters between a call and
    /// its being counted here.
    session: Mutex<Session>,
}

/// As long as one run of the process.
#[derive(Default)]
struct Session {
    client: Option<Client>,
    calls: Calls,
}

/// What was asked, and will not be more while this is held.
pub(crate) struct Asked<'a>(MutexGuard<'a, Session>);

impl Admin {
    pub(crate) fn new(etcd: SocketAddr) -> Self {
        Self {
            relay: Relay::to(etcd),
            session: Mutex::default(),
        }
    }

    /// The answer to one call, which is counted if there is one.
    pub(crate) async fn ask<T, F>(
        &self,
        method: &str,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut session = self.session.lock().await;
        let answer = call(session.client(self.relay.address()).await).await?;
        *session.calls.entry(method.to_owned()).or_default() += 1;
        Ok(answer)
    }

    /// What etcd answers over plain HTTP, where it counts nothing.
    pub(crate) async fn http_get(&self, path: &str) -> io::Result<String> {
        http::get(self.relay.address(), path).await
    }

    /// The ports of its own connections.
    pub(crate) fn ports(&self) -> HashSet<u16> {
        self.relay.ports()
    }

    pub(crate) async fn client(&self) -> Client {
        self.session.lock().await.client(self.relay.address()).await
    }

    pub(crate) async fn asked(&self) -> Asked<'_> {
        Asked(self.session.lock().await)
    }

    /// A restarted etcd wants a new connection and counts from zero again.
    pub(crate) async fn begin_again(&self) {
        *self.session.lock().await = Session::default();
    }
}

impl Asked<'_> {
    pub(crate) fn calls(&self) -> &Calls {
        &self.0.calls
    }
}

impl Session {
    async fn client(&mut self, address: SocketAddr) -> Client {
        if let Some(client) = &self.client {
            return client.clone();
        }
        let options = ConnectOptions::new()
            .with_connect_timeout(ANSWER_WITHIN)
            .with_timeout(ANSWER_WITHIN);
        let client = Client::connect([format!("http://{address}")], Some(options))
            .await
            .expect("connecting without credentials is lazy");
        self.client.insert(client).clone()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}
