//! etcd's own proxy.

use super::server::Etcd;
use crate::{
    eventually::{PATIENCE, eventually},
    network::{free_ports, ports_to},
    process::{Process, log_end},
};
use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// `etcd grpc-proxy` in front of an etcd, of the same binary. Dropping it kills the process; when a
/// test panics, the end of its log is printed first.
///
/// It has one connection to etcd for all its clients, which [`Etcd::client_connections`] counts,
/// and watches a key of its own there, to notice that the leader is lost.
///
/// ```no_run
/// # use sd_tests::{Consumer, Etcd, GrpcProxy};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let etcd = Etcd::start().await;
/// let proxy = GrpcProxy::to(&etcd).await;
/// let consumer = Consumer::start(proxy.endpoint(), "/svc").await;
/// # }
/// ```
#[derive(Debug)]
pub struct GrpcProxy {
    binary: PathBuf,
    flags: Vec<String>,
    address: SocketAddr,
    process: Mutex<Option<Process>>,
    dir: TempDir,
}

impl GrpcProxy {
    /// Starts a proxy in front of `etcd`, which must not use TLS, and waits until it serves.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn to(etcd: &Etcd) -> Self {
        Self::with(etcd, &[]).await
    }

    /// The same with more flags, such as `--namespace=/production`.
    pub async fn with(etcd: &Etcd, flags: &[&str]) -> Self {
        let [port] = free_ports();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let dir = TempDir::with_prefix("sd-proxy-").expect("a temporary directory can be made");
        let mut all = vec![
            "grpc-proxy".to_owned(),
            "start".to_owned(),
            format!("--endpoints={}", etcd.address()),
            format!("--listen-addr={address}"),
            format!("--data-dir={}", dir.path().join("data").display()),
        ];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let proxy = Self {
            binary: etcd.binary().to_owned(),
            flags: all,
            address,
            process: Mutex::new(None),
            dir,
        };
        proxy.start_again().await;
        proxy
    }

    /// The URL for clients under test: `http://127.0.0.1:port`. The same after a restart.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// Starts it on the same port, after a [`kill`](Self::kill), and waits until it serves.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_again(&self) {
        let log = self.dir.path().join("log");
        *self.process() = Some(Process::spawn(&self.binary, &self.flags, &log));
        let is_served = async || TcpStream::connect(self.address).await.is_ok();
        let yes = |is_served: &bool| *is_served;
        eventually(PATIENCE, "a gRPC proxy that serves", is_served, yes).await;
    }

    /// The ports from which clients are connected to it. They identify the connections. From the
    /// system's table of sockets; Linux only.
    pub fn client_ports(&self) -> HashSet<u16> {
        let pid = self.process().as_ref().map(Process::id);
        ports_to(self.address, pid.unwrap_or_default(), &HashSet::new())
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for GrpcProxy {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let end = log_end(&self.dir.path().join("log"));
            eprintln!("the log of the gRPC proxy ends:\n{end}");
        }
    }
}
