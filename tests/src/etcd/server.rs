//! One etcd process, its faults and its counters.

use super::{
    admin::Admin,
    member::Member,
    metrics::Metrics,
    tls::{Certificate, ServerTls},
};
use crate::{
    network::connections_to,
    process::{Process, log_end},
};
use etcd_client::{Client, Error, StatusResponse};
use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A real etcd, with a data directory of its own. Dropping it kills the process and removes the
/// data; when a test panics, the end of etcd's log is printed first.
///
/// The test's own calls use separate connections, and count neither in [`metrics`](Self::metrics)
/// nor in [`client_connections`](Self::client_connections).
#[derive(Debug)]
pub struct Etcd {
    binary: PathBuf,
    flags: Vec<String>,
    encrypted: bool,
    member: Member,
    process: Mutex<Option<Process>>,
    dir: TempDir,
    admin: Admin,
}

/// Why a start failed.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Another process listens there. Other ports may work.
    AddressInUse,
    /// The error and the end of the log.
    Other(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse => f.write_str("etcd's address is in use"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl Etcd {
    pub(crate) fn spawn(
        binary: &Path,
        mut flags: Vec<String>,
        member: Member,
        tls: Option<&ServerTls>,
    ) -> Self {
        let dir = TempDir::with_prefix("sd-etcd-").expect("a temporary directory can be made");
        if let Some(tls) = tls {
            flags.extend(tls.install(dir.path()));
        }
        let etcd = Self {
            binary: binary.to_owned(),
            flags,
            encrypted: tls.is_some(),
            admin: Admin::new(&member, tls),
            member,
            process: Mutex::new(None),
            dir,
        };
        etcd.spawn_again();
        etcd
    }

    /// The URL for clients under test: `http://127.0.0.1:port`, or `https://127.0.0.1:port` with
    /// [TLS](crate::Setup::tls). The same after a restart.
    pub fn endpoint(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.member.clients)
    }

    /// The address behind [`endpoint`](Self::endpoint), for a [`Proxy`](crate::Proxy).
    pub fn address(&self) -> SocketAddr {
        self.member.clients
    }

    /// Replaces the certificate that it shows, from the next handshake on.
    pub fn show(&self, certificate: &Certificate) {
        certificate.install(self.dir.path());
    }

    /// The id of the process. `None` if it was [killed](Self::kill).
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    // === Faults ===

    /// Kills it (SIGKILL). Its data stays.
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// Starts it on the same ports and the same data, after a [`kill`](Self::kill), and waits
    /// until it answers.
    ///
    /// # Panics
    /// If it runs already, or does not start.
    pub async fn start_again(&self) {
        self.admin.reset().await;
        self.spawn_again();
        if let Err(failed) = self.ready().await {
            panic!("{failed}");
        }
    }

    /// [Kills](Self::kill) it and [starts it again](Self::start_again).
    pub async fn restart(&self) {
        self.kill();
        self.start_again().await;
    }

    /// Kills it and starts it again with the same flags and without data: with the same cluster id
    /// and member id, but revisions begin at 1 again.
    pub async fn wipe(&self) {
        self.kill();
        if let Err(error) = fs::remove_dir_all(self.data()) {
            panic!("etcd's data cannot be removed: {error}");
        }
        // Users are data too.
        self.admin.identify(None).await;
        self.start_again().await;
    }

    /// Freezes it (SIGSTOP): connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        self.running(Process::freeze);
    }

    /// Ends a freeze (SIGCONT).
    pub fn thaw(&self) {
        self.running(Process::thaw);
    }

    // === Metrics ===

    /// Its current metrics, without the test's own calls.
    pub async fn metrics(&self) -> Metrics {
        let asked = self.admin.asked().await;
        let text = self
            .admin
            .http_get("/metrics")
            .await
            .unwrap_or_else(|error| self.no_answer("metrics", error));
        Metrics::parse(&text).without(asked.calls())
    }

    /// How many connections are established to [`endpoint`](Self::endpoint), without the test's
    /// own. From the system's table of sockets, since etcd does not count them; Linux only.
    pub fn client_connections(&self) -> usize {
        let pid = self.pid().unwrap_or_default();
        connections_to(self.member.clients, pid, &self.admin.ports())
    }

    /// Its version, such as `3.4.23`.
    pub async fn version(&self) -> String {
        match self.status().await {
            Ok(status) => status.version().to_owned(),
            Err(error) => self.no_answer("Status", error),
        }
    }

    /// A client on the test's own connection, for what has no method here (users, alarms, member
    /// changes). Its calls are counted in the [`metrics`](Self::metrics), its connection is not.
    pub async fn client(&self) -> Client {
        self.admin.client().await
    }

    // === Internals ===

    pub(crate) async fn status(&self) -> Result<StatusResponse, Error> {
        self.admin
            .ask("Status", |mut client| async move { client.status().await })
            .await
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.process().as_ref().is_some_and(|it| !it.is_frozen())
    }

    fn spawn_again(&self) {
        let mut process = self.process();
        assert!(process.is_none(), "etcd runs already");
        let mut flags = self.flags.clone();
        flags.push(format!("--data-dir={}", self.data().display()));
        *process = Some(Process::spawn(&self.binary, &flags, &self.log()));
    }

    /// Whether etcd reports that it is healthy.
    pub(crate) async fn answers(&self) -> bool {
        // Goes through consensus, and is not counted as a call. An etcd without room counts as
        // ready.
        let health = self.admin.http_get("/health?exclude=NOSPACE").await;
        health.is_ok_and(|health| health.contains("true"))
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&self) -> Result<(), StartError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if self.answers().await {
                return Ok(());
            }
            let exited = self.process().as_mut().is_none_or(Process::has_exited);
            if exited && self.log_end().contains("address already in use") {
                return Err(StartError::AddressInUse);
            }
            if exited || Instant::now() > deadline {
                let state = if exited { "has exited" } else { "is not ready" };
                let why = format!("{} {state}; its log ends:\n{}", self, self.log_end());
                return Err(StartError::Other(why));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The answer to one call of the test's own.
    pub(crate) async fn ask<T, F>(&self, method: &str, call: impl FnOnce(Client) -> F) -> T
    where
        F: Future<Output = Result<T, Error>>,
    {
        match self.try_ask(method, call).await {
            Ok(answer) => answer,
            Err(error) => self.no_answer(method, error),
        }
    }

    /// Like `ask`, but etcd may return an error.
    pub(crate) async fn try_ask<T, F>(
        &self,
        method: &str,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.admin.ask(method, call).await
    }

    /// Authenticates the test's own calls as this user from now on. `None` for no user.
    pub(crate) async fn identify(&self, user: Option<(&str, &str)>) {
        self.admin.identify(user).await;
    }

    fn no_answer(&self, what: &str, error: impl fmt::Display) -> ! {
        panic!("{self} did not answer to {what}: {error}")
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, act: impl FnOnce(&mut Process)) {
        match self.process().as_mut() {
            Some(process) => act(process),
            None => panic!("{self} does not run"),
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log_end(&self) -> String {
        log_end(&self.log())
    }
}

impl fmt::Display for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd {} at {}", self.member.name, self.endpoint())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the log of {self} ends:\n{}", self.log_end());
        }
    }
}
