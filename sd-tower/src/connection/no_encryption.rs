//! No encryption: the feature `tls` is off.

use super::stream::Stream;
use sd_core::BoxError;
use tokio::net::TcpStream;

/// How a connection is encrypted: not at all.
#[derive(Debug, Clone)]
pub(super) enum Encryption {}

impl Encryption {
    pub(super) async fn handshake(&self, _: TcpStream) -> Result<Stream, BoxError> {
        match *self {}
    }
}
