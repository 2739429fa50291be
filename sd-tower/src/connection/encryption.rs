//! Encryption: TLS on one connection.

#[cfg(feature = "hyper")]
use super::http_versions::HttpVersions;
use super::{
    stream::Stream,
    tls::{Tls, TlsError},
};
use rustls::{ClientConfig, pki_types::ServerName};
use sd_core::BoxError;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How a connection is encrypted: with which configuration, to whom.
#[derive(Debug, Clone)]
pub(super) struct Encryption {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    /// Whether the server must choose HTTP/2.
    requires_h2: bool,
}

impl Encryption {
    #[cfg(feature = "tonic")]
    pub(super) fn of_h2(tls: &Tls, host: &str) -> Result<Self, TlsError> {
        Ok(Self {
            config: tls.for_h2(),
            server_name: tls.server_name(host)?,
            requires_h2: true,
        })
    }

    #[cfg(feature = "hyper")]
    pub(super) fn of_http(tls: &Tls, host: &str, versions: HttpVersions) -> Result<Self, TlsError> {
        Ok(Self {
            config: match versions {
                HttpVersions::Http1 => tls.for_http1(),
                HttpVersions::Http2 => tls.for_h2(),
                HttpVersions::Negotiated => tls.for_http(),
            },
            server_name: tls.server_name(host)?,
            requires_h2: versions == HttpVersions::Http2,
        })
    }

    pub(super) async fn handshake(&self, tcp: TcpStream) -> Result<Stream, BoxError> {
        let connector = TlsConnector::from(self.config.clone());
        let tls = connector.connect(self.server_name.clone(), tcp).await?;
        let stream = Stream::Tls(Box::new(tls));
        if self.requires_h2 && !stream.negotiated_h2() {
            return Err("the server does not offer HTTP/2 (ALPN `h2`)".into());
        }
        Ok(stream)
    }
}
