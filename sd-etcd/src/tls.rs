//! Encryption: whom to trust, and who we are.

use crate::{config::invalid, error};
use futures::FutureExt;
use sd_core::Result;
use std::fmt;

/// TLS towards etcd: whom to trust, and who we are.
///
/// A client with TLS options never falls back to plain text.
#[derive(Clone, Default)]
pub struct Tls {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    domain: Option<String>,
}

impl Tls {
    /// TLS that trusts nobody yet; or, with the feature `tls-roots` and as long as no
    /// [`ca`](Self::ca) is given, the CAs of the system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts servers whose certificate this CA signed, and no others (PEM, one certificate or
    /// several).
    #[must_use]
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Shows this client certificate (both PEM).
    #[must_use]
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Expects this name in the server's certificate instead of the endpoint's host.
    #[must_use]
    pub fn domain(mut self, name: impl Into<String>) -> Self {
        self.domain = Some(name.into());
        self
    }

    pub(crate) fn options(&self) -> Result<etcd_client::TlsOptions> {
        let mut options = etcd_client::TlsOptions::new();
        match &self.ca {
            // Else it is left out in silence, and nobody is trusted.
            Some(ca) if !has_certificate(ca) => {
                return Err(invalid(
                    "no certificate (PEM) in what was given to `Tls::ca`",
                ));
            }
            Some(ca) => {
                options = options.ca_certificate(etcd_client::Certificate::from_pem(ca));
            }
            None if cfg!(feature = "tls-roots") => options = options.with_enabled_roots(),
            None => {
                return Err(invalid(
                    "TLS that trusts nobody: name a CA with `Tls::ca`, or take those of the system \
                     with the feature `tls-roots` of sd-etcd",
                ));
            }
        }
        if let Some((certificate, key)) = &self.identity {
            options = options.identity(etcd_client::Identity::from_pem(certificate, key));
        }
        if let Some(domain) = &self.domain {
            options = options.domain_name(domain);
        }
        Ok(options)
    }
}

fn has_certificate(pem: &[u8]) -> bool {
    String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----")
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("domain", &self.domain)
            .finish()
    }
}

/// Reads the certificates as the connection will, which is not made here.
pub(crate) fn check(endpoint: &str, tls: &etcd_client::TlsOptions) -> Result<()> {
    let options = etcd_client::ConnectOptions::new().with_tls(tls.clone());
    // Lazy without credentials: resolves at once.
    let connecting = etcd_client::Client::connect([endpoint], Some(options));
    match connecting.now_or_never() {
        Some(Err(error)) => Err(invalid(format!(
            "the CA or the client's certificate cannot be used: {}",
            error::translate(error)
        ))),
        _ => Ok(()),
    }
}
