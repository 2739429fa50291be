//! The registry of an example: one in memory, or the etcd that `--etcd` names.

use lexopt::{
    Arg::{Long, Short},
    ValueExt,
};
use sd_core::{BoxError, Client, LeaseId};
use std::{fmt, sync::Arc};

/// A registry, and what an operator may do to it.
pub(crate) enum Registry {
    Memory(sd_memory::Registry),
    #[cfg(feature = "etcd")]
    Etcd(String),
}

impl Registry {
    /// The registry that the arguments of `program` name. `None` after `--help`, which is printed.
    pub(crate) fn chosen(program: &str) -> Result<Option<Self>, BoxError> {
        let usage = format!(
            "usage: {program} [--etcd URL]\n\n  \
             --etcd URL  play on an etcd, such as http://127.0.0.1:2379, instead of in memory"
        );
        let mut arguments = lexopt::Parser::from_env();
        let mut chosen = Self::Memory(sd_memory::Registry::new());
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("etcd") => chosen = Self::etcd(program, arguments.value()?.string()?)?,
                Long("help") | Short('h') => {
                    println!("{usage}");
                    return Ok(None);
                }
                other => return Err(format!("{}\n\n{usage}", other.unexpected()).into()),
            }
        }
        Ok(Some(chosen))
    }

    #[cfg(feature = "etcd")]
    fn etcd(_program: &str, url: String) -> Result<Self, BoxError> {
        Ok(Self::Etcd(url))
    }

    #[cfg(not(feature = "etcd"))]
    fn etcd(program: &str, url: String) -> Result<Self, BoxError> {
        Err(format!(
            "this {program} was built without etcd. With it (building needs `protoc`):\n\n    \
             cargo run --bin {program} --features etcd -- --etcd {url}"
        )
        .into())
    }

    /// A new client. Stands for a process of its own.
    pub(crate) fn client(&self) -> Result<Arc<dyn Client>, BoxError> {
        Ok(match self {
            Self::Memory(registry) => Arc::new(registry.client()),
            #[cfg(feature = "etcd")]
            Self::Etcd(url) => Arc::new(sd_etcd::EtcdClient::connect([url])?),
        })
    }

    /// Ends a lease, as `etcdctl lease revoke` does.
    pub(crate) async fn revoke(&self, lease: &LeaseId) -> Result<(), BoxError> {
        match self {
            Self::Memory(registry) => {
                registry.expire_lease(lease);
            }
            #[cfg(feature = "etcd")]
            Self::Etcd(url) => {
                let mut operator = etcd_client::Client::connect([url], None).await?;
                operator.lease_revoke(lease.as_str().parse()?).await?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(_) => f.write_str("a registry in memory"),
            #[cfg(feature = "etcd")]
            Self::Etcd(url) => write!(f, "etcd at {url}"),
        }
    }
}
