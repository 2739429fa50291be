//! The address of an endpoint.

use super::connect_error::{ConnectError, ConnectErrorKind};
use http::uri::Authority;
use std::{io, net::SocketAddr};
use tokio::net::lookup_host;

/// `host:port`: a name or an IP address, IPv6 in brackets.
#[derive(Debug, Clone)]
pub(super) struct Address {
    authority: Authority,
    /// Without brackets.
    host: Box<str>,
    port: u16,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, ConnectError> {
        let invalid = || ConnectError::new(text, ConnectErrorKind::InvalidAddress, None);
        let authority: Authority = text.parse().map_err(|_| invalid())?;
        // An authority may have a user, which is no part of an address.
        let port = authority.port_u16().ok_or_else(invalid)?;
        let host = authority.host();
        if host.is_empty() || text.contains('@') {
            return Err(invalid());
        }
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        Ok(Self {
            host: bare.unwrap_or(host).into(),
            port,
            authority,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        self.authority.as_str()
    }

    /// The address as it is written in a URI.
    #[cfg(feature = "tonic")]
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    #[cfg(all(feature = "tls", feature = "tonic"))]
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the socket addresses behind it, in the system's order. A name is looked up each time.
    pub(super) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host((&*self.host, self.port)).await?.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("10.0.0.1:80", "10.0.0.1", 80),
            ("[::1]:8080", "::1", 8080),
            ("hello.example:443", "hello.example", 443),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((&*address.host, address.port), (host, port));
            assert_eq!(address.as_str(), text);
        }
        for text in [
            "", "hello", ":80", "::1:80", "a:b", "u@h:80", "h:80/p", "h:65536", "h:",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.kind(), ConnectErrorKind::InvalidAddress, "{text}");
        }
    }
}
