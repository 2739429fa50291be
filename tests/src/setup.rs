//! How an etcd is to be started.

use crate::{Etcd, etcd::Failed, ports::free_ports};
use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
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
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            binary: default_binary(),
            flags: Vec::new(),
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
        let etcds =
            members.map(|member| Etcd::spawn(&self.binary, self.flags(&member, &cluster), member));
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
        } = member;
        let mut flags = vec![
            format!("--name={name}"),
            format!("--listen-client-urls=http://{clients}"),
            format!("--advertise-client-urls=http://{clients}"),
            format!("--listen-peer-urls=http://{peers}"),
            format!("--initial-advertise-peer-urls=http://{peers}"),
            format!("--initial-cluster={cluster}"),
        ];
        flags.extend(self.flags.iter().cloned());
        flags
    }
}

/// Who a member is and where it listens.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) clients: SocketAddr,
    pub(crate) peers: SocketAddr,
}

impl Member {
    fn some<const N: usize>() -> [Self; N] {
        let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        std::array::from_fn(|index| {
            let [clients, peers] = free_ports();
            Self {
                name: format!("member-{index}"),
                clients: on(clients),
                peers: on(peers),
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

        let etcd = Etcd::spawn(&setup.binary, setup.flags(&member, &cluster), member);

        let failed = etcd.ready().await.unwrap_err();
        assert!(matches!(failed, Failed::AddressInUse), "{failed}");
    }

    #[tokio::test]
    #[should_panic(expected = "has exited; its log ends")]
    async fn an_etcd_that_does_not_start_says_why() {
        Etcd::setup().flag("--no-such-flag").start().await;
    }
}
