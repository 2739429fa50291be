//! The resolver of the endpoints' names.

use async_trait::async_trait;
use std::{io, net::SocketAddr};

/// Resolves the names of endpoints. The default asks the system, as `getaddrinfo` does.
///
/// Set another one with [`EtcdClientBuilder::resolver`](crate::EtcdClientBuilder::resolver). It is
/// asked before each connection to an endpoint whose host is a name, for at most the
/// [`dial_timeout`](crate::EtcdClientBuilder::dial_timeout), and not at all for an IP address.
///
/// ```
/// use sd_etcd::{EtcdClient, Resolve};
/// use std::{io, net::SocketAddr};
///
/// struct Fixed;
///
/// #[async_trait::async_trait]
/// impl Resolve for Fixed {
///     async fn resolve(&self, _host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
///         Ok(vec![([10, 0, 0, 1], port).into(), ([10, 0, 0, 2], port).into()])
///     }
/// }
///
/// # async fn example() -> sd_core::Result<()> {
/// let client = EtcdClient::builder(["http://etcd.internal:2379"]).resolver(Fixed).build()?;
/// # client.close().await;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// Returns the addresses of `host`, each with `port`. Those of the family that comes first are tried
    /// first, in random order.
    ///
    /// # Errors
    /// If the name cannot be resolved. Then the last known addresses are used.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}
