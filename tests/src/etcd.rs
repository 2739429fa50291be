//! One etcd process, its faults, and what it holds.

use crate::{
    KeyValue, Metrics, Setup, connections::connections_to, http, metrics::Calls, process::Process,
    setup::Member,
};
use etcd_client::{
    Client, CompactionOptions, ConnectOptions, Error, GetOptions, PutOptions, StatusResponse,
};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const READY_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A real etcd, with a data directory of its own. Dropping it kills the process and removes the
/// data; when a test panics, the end of etcd's log is printed first.
///
/// What a test asks or does through it goes to a second address, and neither shows in
/// [`metrics`](Self::metrics) nor in [`client_connections`](Self::client_connections).
#[derive(Debug)]
pub struct Etcd {
    binary: PathBuf,
    flags: Vec<String>,
    member: Member,
    // Before the directory, so that nobody writes to it any more when it is removed.
    process: Mutex<Option<Process>>,
    dir: TempDir,
    /// Locked while a call is under way, so that the metrics are never read between a call and
    /// its being counted.
    admin: tokio::sync::Mutex<Admin>,
}

/// The test's own connection; made at the first call, since a fresh one is needed after a restart.
#[derive(Default)]
struct Admin {
    client: Option<Client>,
    calls: Calls,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Why a start failed.
#[derive(Debug)]
pub(crate) enum Failed {
    AddressInUse,
    Other(String),
}

impl Etcd {
    /// Starts the etcd that `ETCD_BIN` names, or else the one on the `PATH`, and waits until it
    /// answers.
    ///
    /// # Panics
    /// With the end of its log, if it does not start.
    pub async fn start() -> Self {
        Self::setup().start().await
    }

    /// To start another binary, or with more flags.
    pub fn setup() -> Setup {
        Setup::default()
    }

    pub(crate) fn spawn(binary: &Path, flags: Vec<String>, member: Member) -> Self {
        let etcd = Self {
            binary: binary.to_owned(),
            flags,
            member,
            process: Mutex::new(None),
            dir: TempDir::with_prefix("sd-etcd-").expect("a temporary directory can be made"),
            admin: Default::default(),
        };
        etcd.spawn_again();
        etcd
    }

    /// The URL for clients under test: `http://127.0.0.1:port`, the same after a restart.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.member.clients)
    }

    /// The address behind [`endpoint`](Self::endpoint), for a [`Proxy`](crate::Proxy).
    pub fn address(&self) -> SocketAddr {
        self.member.clients
    }

    /// The id of the process, if it was not [killed](Self::kill).
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    // === Faults ===

    /// Kills it (SIGKILL) and leaves its data.
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// Starts it on the same ports and the same data, after a [`kill`](Self::kill), and waits
    /// until it answers.
    ///
    /// # Panics
    /// If it runs already, or does not start.
    pub async fn start_again(&self) {
        self.spawn_again();
        self.answers().await;
    }

    /// [Kills](Self::kill) it and [starts it again](Self::start_again).
    pub async fn restart(&self) {
        self.kill();
        self.start_again().await;
    }

    /// Kills it and starts it with the same flags and no data: same cluster id, same member id,
    /// revisions from one again.
    pub async fn wipe(&self) {
        self.kill();
        if let Err(error) = fs::remove_dir_all(self.data()) {
            panic!("etcd's data cannot be removed: {error}");
        }
        self.start_again().await;
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.running(Process::freeze);
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.running(Process::thaw);
    }

    /// Forgets the history up to now; a watch cannot resume from before. Gives the revision.
    pub async fn compact(&self) -> i64 {
        let revision = self.revision().await;
        self.ask("Compact", |mut client| async move {
            let options = CompactionOptions::new().with_physical();
            client.compact(revision, Some(options)).await
        })
        .await;
        revision
    }

    /// Revokes a lease, as an operator would.
    pub async fn revoke(&self, lease: i64) {
        self.ask("LeaseRevoke", |mut client| async move {
            client.lease_revoke(lease).await
        })
        .await;
    }

    // === Entries ===

    /// Puts an entry that hangs on no lease, as a stranger would. Gives the revision.
    pub async fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> i64 {
        self.put_with(key.into(), value.into(), None).await
    }

    /// Puts an entry on a lease of `ttl` that nobody keeps alive, as a provider that has crashed.
    /// Gives the lease.
    pub async fn put_leased(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        ttl: Duration,
    ) -> i64 {
        let seconds = i64::try_from(ttl.as_secs()).expect("a lease ends one day");
        let lease = self
            .ask("LeaseGrant", |mut client| async move {
                client.lease_grant(seconds, None).await
            })
            .await
            .id();
        let options = PutOptions::new().with_lease(lease);
        self.put_with(key.into(), value.into(), Some(options)).await;
        lease
    }

    async fn put_with(&self, key: Vec<u8>, value: Vec<u8>, options: Option<PutOptions>) -> i64 {
        let response = self
            .ask("Put", |mut client| async move {
                client.put(key, value, options).await
            })
            .await;
        response.header().map_or(0, |header| header.revision())
    }

    /// The value under `key`.
    pub async fn get(&self, key: impl Into<Vec<u8>>) -> Option<Vec<u8>> {
        self.entry(key).await.map(|entry| entry.value().to_vec())
    }

    /// The entry under `key`, with its lease and revisions.
    pub async fn entry(&self, key: impl Into<Vec<u8>>) -> Option<KeyValue> {
        let key = key.into();
        let mut response = self
            .ask(
                "Range",
                |mut client| async move { client.get(key, None).await },
            )
            .await;
        response.take_kvs().pop()
    }

    /// Removes an entry; says whether there was one.
    pub async fn delete(&self, key: impl Into<Vec<u8>>) -> bool {
        let key = key.into();
        let response = self
            .ask("DeleteRange", |mut client| async move {
                client.delete(key, None).await
            })
            .await;
        response.deleted() > 0
    }

    /// All keys that start with `prefix`, in order; what is not UTF-8 in them is replaced.
    pub async fn keys(&self, prefix: impl Into<Vec<u8>>) -> Vec<String> {
        let prefix = prefix.into();
        let response = self
            .ask("Range", |client| async move {
                let options = GetOptions::new().with_prefix().with_keys_only();
                let mut kv = client.kv_client().max_decoding_message_size(usize::MAX);
                kv.get(prefix, Some(options)).await
            })
            .await;
        let keys = response.kvs().iter().map(KeyValue::key);
        keys.map(|key| String::from_utf8_lossy(key).into_owned())
            .collect()
    }

    /// The newest revision.
    pub async fn revision(&self) -> i64 {
        let response = self
            .ask(
                "Range",
                |mut client| async move { client.get("\0", None).await },
            )
            .await;
        response.header().map_or(0, |header| header.revision())
    }

    /// All leases.
    pub async fn leases(&self) -> Vec<i64> {
        let response = self
            .ask(
                "LeaseLeases",
                |mut client| async move { client.leases().await },
            )
            .await;
        response.leases().iter().map(|lease| lease.id()).collect()
    }

    // === What it counts ===

    /// Its counters at the moment, without what this [`Etcd`] has asked itself.
    pub async fn metrics(&self) -> Metrics {
        let admin = self.admin.lock().await;
        let text = http::get(self.member.admin, "/metrics")
            .await
            .unwrap_or_else(|error| self.no_answer("metrics", error));
        Metrics::parse(&text).without(&admin.calls)
    }

    /// How many connections are established to [`endpoint`](Self::endpoint). From the system's
    /// table of sockets, since etcd does not count them; Linux only.
    pub fn client_connections(&self) -> usize {
        connections_to(self.member.clients, self.pid().unwrap_or_default())
    }

    /// Its version, `3.4.23` for instance.
    pub async fn version(&self) -> String {
        match self.status().await {
            Ok(status) => status.version().to_owned(),
            Err(error) => self.no_answer("Status", error),
        }
    }

    /// A client on the test's own address, for what has no method here (users, alarms, member
    /// changes). Its calls are counted in the [`metrics`](Self::metrics), its connection is not.
    pub async fn client(&self) -> Client {
        self.admin.lock().await.client(self.member.admin).await
    }

    // === Inside ===

    pub(crate) async fn status(&self) -> Result<StatusResponse, Error> {
        self.try_ask("Status", |mut client| async move { client.status().await })
            .await
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.process().as_ref().is_some_and(|it| !it.is_frozen())
    }

    pub(crate) fn spawn_again(&self) {
        let mut process = self.process();
        assert!(process.is_none(), "etcd runs already");
        let mut flags = self.flags.clone();
        flags.push(format!("--data-dir={}", self.data().display()));
        *self
            .admin
            .try_lock()
            .expect("no call is under way while etcd starts") = Admin::default();
        *process = Some(Process::spawn(&self.binary, &flags, &self.log()));
    }

    /// Waits until it answers.
    pub(crate) async fn answers(&self) {
        if let Err(failed) = self.ready().await {
            panic!("{failed:?}");
        }
    }

    pub(crate) async fn ready(&self) -> Result<(), Failed> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            // Goes through consensus, and is not a call that etcd would count.
            let health = http::get(self.member.admin, "/health").await;
            if health.is_ok_and(|health| health.contains("true")) {
                return Ok(());
            }
            let exited = self.process().as_mut().is_none_or(Process::has_exited);
            if exited && self.log_end().contains("address already in use") {
                return Err(Failed::AddressInUse);
            }
            if exited || Instant::now() > deadline {
                let state = if exited { "has exited" } else { "is not ready" };
                let why = format!("{} {state}; its log ends:\n{}", self, self.log_end());
                return Err(Failed::Other(why));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The answer to one call of ours, which is counted as such.
    async fn ask<T, F>(&self, method: &str, call: impl FnOnce(Client) -> F) -> T
    where
        F: Future<Output = Result<T, Error>>,
    {
        match self.try_ask(method, call).await {
            Ok(answer) => answer,
            Err(error) => self.no_answer(method, error),
        }
    }

    async fn try_ask<T, F>(&self, method: &str, call: impl FnOnce(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut admin = self.admin.lock().await;
        let answer = call(admin.client(self.member.admin).await).await?;
        *admin.calls.entry(method.to_owned()).or_default() += 1;
        Ok(answer)
    }

    fn no_answer(&self, what: &str, error: impl std::fmt::Display) -> ! {
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

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log_end(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl std::fmt::Display for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

impl Admin {
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
