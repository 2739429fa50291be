//! How an etcd is to be started.

use crate::{Ca, Certificate, Etcd, etcd::Failed, ports::free_ports};
use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Between looking for free ports and listening on them, somebody else may take one.
const ATTEMPTS: usize = 3;

/// The one that `ETCD_BIN` names, or `etcd` from the `PATH`.
fn default_binary() -> PathBuf {
    env::var_os("ETCD_BIN")
        .filter(|binary| !binary.is_empty())
        .map_or_else(|| "etcd".into(), PathBuf::from)
}

/// An etcd about to be started: which binary, with which flags. See [`Etcd::setup`].
///
/// Timings are etcd's own defaults, so that the shortest lease is 2 s.
#[derive(Debug, Clone)]
#[must_use = "a setup does nothing until started"]
pub struct Setup {
    binary: PathBuf,
    flags: Vec<String>,
    tls: Option<ServerTls>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            binary: default_binary(),
            flags: Vec::new(),
            tls: None,
        }
    }
}

impl Setup {
    /// Another binary than `ETCD_BIN` or the one on the `PATH`.
    pub fn binary(mut self, binary: impl Into<PathBuf>) -> Self {
        self.binary = binary.into();
        self
    }

    /// One more flag, such as `--quota-backend-bytes=65536`.
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// TLS, with a certificate of this CA for `127.0.0.1` and `localhost`.
    pub fn tls(mut self, ca: &Ca) -> Self {
        self.tls = Some(ServerTls {
            ca: ca.pem(),
            server: ca.server(&["127.0.0.1", "localhost"]),
            tester: ca.client("the test itself"),
            asks_for_certificates: false,
        });
        self
    }

    /// Serves only clients that show a certificate of the CA that was given to [`tls`](Self::tls).
    ///
    /// # Panics
    /// Without that.
    pub fn client_certificates(mut self) -> Self {
        let tls = self.tls.as_mut().expect("TLS is set up first");
        tls.asks_for_certificates = true;
        self
    }

    /// Passwords: a user is served for a token that ends `seconds` after its last use, at least 1.
    /// Nobody needs one until [`Etcd::enable_auth`].
    pub fn token_ttl(self, seconds: u32) -> Self {
        self.flag("--auth-token=simple")
            .flag(format!("--auth-token-ttl={seconds}"))
            // Cheap, so that counts of authentications do not depend on the machine.
            .flag("--bcrypt-cost=4")
    }

    /// Room for no more than these bytes, rounded to etcd's pages; see [`Etcd::fill_quota`].
    pub fn quota(self, bytes: u64) -> Self {
        self.flag(format!("--quota-backend-bytes={bytes}"))
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// With the end of its log, if it does not start.
    pub async fn start(self) -> Etcd {
        let [etcd] = self.start_members().await;
        etcd
    }

    /// Starts `N` of them as members of one cluster and waits until all answer.
    pub(crate) async fn start_members<const N: usize>(self) -> [Etcd; N] {
        let mut attempt = 1;
        loop {
            match self.try_start_members().await {
                Ok(members) => return members,
                Err(Failed::AddressInUse) if attempt < ATTEMPTS => attempt += 1,
                Err(failed) => panic!("{failed}"),
            }
        }
    }

    async fn try_start_members<const N: usize>(&self) -> Result<[Etcd; N], Failed> {
        let members = Member::some::<N>();
        let cluster: Vec<String> = members
            .iter()
            .map(|member| format!("{}=http://{}", member.name, member.peers))
            .collect();
        let cluster = cluster.join(",");
        let etcds = members.map(|member| {
            let flags = self.flags(&member, &cluster);
            Etcd::spawn(&self.binary, flags, member, self.tls.as_ref())
        });
        for etcd in &etcds {
            etcd.ready().await?;
        }
        Ok(etcds)
    }

    fn flags(&self, member: &Member, cluster: &str) -> Vec<String> {
        let Member {
            name,
            clients,
            peers,
            counters,
        } = member;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut flags = vec![
            format!("--name={name}"),
            format!("--listen-client-urls={scheme}://{clients}"),
            format!("--advertise-client-urls={scheme}://{clients}"),
            format!("--listen-peer-urls=http://{peers}"),
            format!("--initial-advertise-peer-urls=http://{peers}"),
            format!("--initial-cluster={cluster}"),
        ];
        if self.tls.is_some() {
            // In plain text, however the clients have to talk.
            flags.push(format!("--listen-metrics-urls=http://{counters}"));
        }
        flags.extend(self.flags.iter().cloned());
        flags
    }
}

/// What an etcd and the test itself need to talk TLS with each other.
#[derive(Debug, Clone)]
pub(crate) struct ServerTls {
    pub(crate) ca: String,
    pub(crate) tester: Certificate,
    server: Certificate,
    asks_for_certificates: bool,
}

impl ServerTls {
    /// Writes the files for an etcd into `dir`, and gives the flags that name them.
    pub(crate) fn install(&self, dir: &Path) -> Vec<String> {
        let write = |name: &str, pem: &str| {
            let path = dir.join(name);
            fs::write(&path, pem).expect("a certificate can be written");
            path.display().to_string()
        };
        let mut flags = vec![
            format!(
                "--cert-file={}",
                write("cert.pem", &self.server.certificate)
            ),
            format!("--key-file={}", write("key.pem", &self.server.key)),
        ];
        if self.asks_for_certificates {
            flags.push(format!("--trusted-ca-file={}", write("ca.pem", &self.ca)));
            flags.push("--client-cert-auth".to_owned());
        }
        flags
    }
}

/// Who a member is and where it listens.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) clients: SocketAddr,
    pub(crate) peers: SocketAddr,
    /// For its health and its counters, where the clients' address talks TLS.
    pub(crate) counters: SocketAddr,
}

impl Member {
    fn some<const N: usize>() -> [Self; N] {
        let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        std::array::from_fn(|index| {
            let [clients, peers, counters] = free_ports();
            Self {
                name: format!("member-{index}"),
                clients: on(clients),
                peers: on(peers),
                counters: on(counters),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[tokio::test]
    async fn a_taken_port_is_told_from_an_etcd_that_does_not_start() {
        let setup = Setup::default();
        let [member] = Member::some();
        let _somebody = TcpListener::bind(member.peers).unwrap();
        let cluster = format!("{}=http://{}", member.name, member.peers);

        let etcd = Etcd::spawn(&setup.binary, setup.flags(&member, &cluster), member, None);

        let failed = etcd.ready().await.unwrap_err();
        assert!(matches!(failed, Failed::AddressInUse), "{failed}");
    }

    #[tokio::test]
    #[should_panic(expected = "has exited; its log ends")]
    async fn an_etcd_that_does_not_start_says_why() {
        Etcd::setup().flag("--no-such-flag").start().await;
    }
}
