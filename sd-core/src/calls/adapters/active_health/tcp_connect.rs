//! A health check that connects.

use super::health_check::HealthCheck;
use crate::calls::{endpoint::Endpoint, factory::BoxError};
use async_trait::async_trait;
use tokio::net::TcpStream;

/// A health check that opens a TCP connection to the address of the endpoint and closes it. Needs
/// the feature `tcp`.
///
/// It shows that the port is open, for example that the process has started and not crashed. A
/// process that hangs often still accepts connections: the kernel does that for it.
///
/// The address has to be a host and a port, such as `10.0.0.1:80`, `[::1]:80` or `a.example:80`. A
/// name is resolved for each check, and its addresses are tried in turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnect;

#[async_trait]
impl<E: Send + Sync> HealthCheck<E> for TcpConnect {
    async fn check(&self, endpoint: &Endpoint<E>) -> Result<(), BoxError> {
        TcpStream::connect(endpoint.address()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{instances::Instance, registry::Key};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn who_listens_passes_and_who_does_not_fails() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let endpoint = |address: &str| {
            let instance = Instance::new(Key::new("a").unwrap(), address);
            Endpoint::new(instance, ())
        };
        let (listening, nonsense) = (endpoint(&address), endpoint("nonsense"));
        assert!(TcpConnect.check(&listening).await.is_ok());
        drop(listener);
        assert!(TcpConnect.check(&listening).await.is_err());
        assert!(TcpConnect.check(&nonsense).await.is_err());
    }
}
