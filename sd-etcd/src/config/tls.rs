//! TLS towards etcd.

use crate::errors::{invalid_config, translate};
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use futures::FutureExt;
use sd_core::Result;
use std::fmt;

/// Options of the TLS connections to etcd: the trusted CA, and the client's certificate.
///
/// A client with these options never falls back to plain text.
///
/// ```
/// # fn example(ca: Vec<u8>, certificate: Vec<u8>, key: Vec<u8>) -> sd_core::Result<()> {
/// use sd_etcd::{EtcdClient, Tls};
///
/// let tls = Tls::new().ca(ca).identity(certificate, key);
/// let client = EtcdClient::builder(["https://10.0.0.1:2379"]).tls(tls).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tls {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    domain: Option<String>,
}

impl Tls {
    /// Creates options without a client certificate.
    ///
    /// With the feature `tls-roots` the system's CAs are trusted until a [`ca`](Self::ca) is given.
    /// Without it no server is trusted, and a CA must be given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts only servers whose certificate is signed by this CA. PEM, one certificate or several.
    #[must_use]
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Presents this client certificate. Both in PEM.
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

    /// Returns the options for `etcd-client`, after it has read the certificates as a connection to
    /// `endpoint` will. Connects nowhere.
    pub(super) fn checked(&self, endpoint: &str) -> Result<TlsOptions> {
        let tls = self.options()?;
        let options = ConnectOptions::new().with_tls(tls.clone());
        // Without credentials this connects lazily, and resolves at once.
        match Client::connect([endpoint], Some(options)).now_or_never() {
            Some(Err(error)) => Err(invalid_config(format!(
                "the CA or the client's certificate cannot be used: {}",
                translate(error)
            ))),
            _ => Ok(tls),
        }
    }

    fn options(&self) -> Result<TlsOptions> {
        let mut options = TlsOptions::new();
        match &self.ca {
            // `etcd-client` ignores such a CA, and then trusts nobody.
            Some(ca) if !has_certificate(ca) => {
                return Err(invalid_config(
                    "no certificate (PEM) in what was given to `Tls::ca`",
                ));
            }
            Some(ca) => options = options.ca_certificate(Certificate::from_pem(ca)),
            None if cfg!(feature = "tls-roots") => options = options.with_enabled_roots(),
            None => {
                return Err(invalid_config(
                    "TLS that trusts nobody: name a CA with `Tls::ca`, or take those of the system \
                     with the feature `tls-roots` of sd-etcd",
                ));
            }
        }
        if let Some((certificate, key)) = &self.identity {
            options = options.identity(Identity::from_pem(certificate, key));
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
