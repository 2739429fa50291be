//! How an etcd is started: which binary, with which flags.

use super::{
    member::Member,
    server::{Etcd, StartError},
    tls::{Ca, ServerTls},
};
use std::{env, path::PathBuf};

/// How often to try: another process may take a port between the search for free ports and the
/// start.
const ATTEMPTS: usize = 3;

/// The binary that `ETCD_BIN` names, or `etcd` from the `PATH`.
fn default_binary() -> PathBuf {
    env::var_os("ETCD_BIN")
        .filter(|binary| !binary.is_empty())
        .map_or_else(|| "etcd".into(), PathBuf::from)
}

/// A builder for an [`Etcd`]: which binary, with which flags. See [`Etcd::setup`].
///
/// Timings are etcd's defaults, so the shortest lease is 2 s.
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

impl Etcd {
    /// Starts the etcd that `ETCD_BIN` names, or else the one on the `PATH`, and waits until it
    /// answers.
    ///
    /// # Panics
    /// With the end of its log, if it does not start.
    pub async fn start() -> Self {
        Self::setup().start().await
    }

    /// A setup for another binary, or with more flags.
    pub fn setup() -> Setup {
        Setup::default()
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

    /// Uses TLS, with a certificate of this CA for `127.0.0.1` and `localhost`.
    pub fn tls(mut self, ca: &Ca) -> Self {
        self.tls = Some(ServerTls::new(ca));
        self
    }

    /// Serves only clients that present a certificate of the CA of [`tls`](Self::tls).
    ///
    /// # Panics
    /// If `tls` was not called before.
    pub fn client_certificates(mut self) -> Self {
        let tls = self.tls.as_mut().expect("TLS is set up first");
        tls.client_certificates = true;
        self
    }

    /// Sets how long a token lives after its last use, at least 1 s. Tokens are needed only after
    /// [`Etcd::enable_auth`].
    pub fn token_ttl(self, seconds: u32) -> Self {
        self.flag("--auth-token=simple")
            .flag(format!("--auth-token-ttl={seconds}"))
            // Cheap, so that the number of authentications does not depend on the machine.
            .flag("--bcrypt-cost=4")
    }

    /// Sets the storage quota in bytes, rounded to etcd's pages; see [`Etcd::fill_quota`].
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

    /// Starts `N` etcds as members of one cluster and waits until all answer.
    pub(crate) async fn start_members<const N: usize>(self) -> [Etcd; N] {
        let mut attempt = 1;
        loop {
            match self.try_start_members().await {
                Ok(members) => return members,
                Err(StartError::AddressInUse) if attempt < ATTEMPTS => attempt += 1,
                Err(failed) => panic!("{failed}"),
            }
        }
    }

    async fn try_start_members<const N: usize>(&self) -> Result<[Etcd; N], StartError> {
        let members = Member::on_free_ports::<N>();
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
            // In plain text, even if clients have to use TLS.
            flags.push(format!("--listen-metrics-urls=http://{counters}"));
        }
        flags.extend(self.flags.iter().cloned());
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[tokio::test]
    async fn a_taken_port_is_told_from_an_etcd_that_does_not_start() {
        let setup = Setup::default();
        let [member] = Member::on_free_ports();
        let _somebody = TcpListener::bind(member.peers).unwrap();
        let cluster = format!("{}=http://{}", member.name, member.peers);

        let etcd = Etcd::spawn(&setup.binary, setup.flags(&member, &cluster), member, None);

        let failed = etcd.ready().await.unwrap_err();
        assert!(matches!(failed, StartError::AddressInUse), "{failed}");
    }

    #[tokio::test]
    #[should_panic(expected = "has exited; its log ends")]
    async fn an_etcd_that_does_not_start_says_why() {
        Etcd::setup().flag("--no-such-flag").start().await;
    }
}
