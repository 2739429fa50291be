//! TLS towards etcd.

use super::secret::Secret;
use crate::errors::{invalid_config, with_all_causes};
use sd_core::Result;
use std::{fmt, fs, path::PathBuf};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// Options of the TLS connections to etcd: the trusted CA, and the client's certificate.
///
/// A client with these options never falls back to plain text. `Debug` shows neither certificates nor keys.
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
///
/// Certificates from files are read again for each connection, so that they can be renewed under a
/// running client:
///
/// ```no_run
/// # fn example() -> sd_core::Result<()> {
/// use sd_etcd::{EtcdClient, Tls};
///
/// let tls = Tls::new()
///     .ca_file("/etc/etcd/ca.pem")
///     .identity_files("/etc/etcd/client.pem", "/etc/etcd/client.key");
/// let client = EtcdClient::builder(["https://10.0.0.1:2379"]).tls(tls).build()?;
/// # Ok(())
/// # }
/// ```
///
/// A key that was [given](Self::identity) is wiped from memory with the last clone of these options and of
/// the client, and one from a file as soon as it was read. What rustls and tonic make of it for each connection
/// is not wiped: the options of the connection, and the parsed key.
#[derive(Clone, Default)]
pub struct Tls {
    ca: Option<Pem>,
    identity: Option<(Pem, Pem)>,
    domain: Option<String>,
}

#[derive(Clone)]
enum Pem {
    Given(Secret<Vec<u8>>),
    File(PathBuf),
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
        self.ca = Some(Pem::given(pem));
        self
    }

    /// Like [`ca`](Self::ca), read from a file for each connection.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(Pem::File(path.into()));
        self
    }

    /// Presents this client certificate. Both in PEM.
    #[must_use]
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((Pem::given(certificate), Pem::given(key)));
        self
    }

    /// Like [`identity`](Self::identity), read from two files for each connection.
    ///
    /// A connection that finds a certificate and a key that do not match, as in the middle of a
    /// renewal, fails and is tried again.
    #[must_use]
    pub fn identity_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// Expects this name in the server's certificate instead of the endpoint's host.
    #[must_use]
    pub fn domain(mut self, name: impl Into<String>) -> Self {
        self.domain = Some(name.into());
        self
    }

    /// Reads the certificates, and returns options with which a connection to `host` can be made.
    /// Blocks if there are files.
    pub(crate) fn read(&self, host: &str) -> Result<ClientTlsConfig> {
        let domain = self.domain.as_deref().unwrap_or(host);
        let mut config = ClientTlsConfig::new().domain_name(domain);
        match &self.ca {
            Some(ca) => {
                let ca = ca.read()?;
                // It would be ignored, and nobody trusted.
                if !has_certificate(ca.expose()) {
                    return Err(invalid_config(
                        "no certificate (PEM) in what was given to `Tls::ca`",
                    ));
                }
                config = config.ca_certificate(Certificate::from_pem(ca.expose()));
            }
            None if cfg!(feature = "tls-roots") => config = config.with_enabled_roots(),
            None => {
                return Err(invalid_config(
                    "TLS that trusts nobody: name a CA with `Tls::ca`, or take those of the system \
                     with the feature `tls-roots` of sd-etcd",
                ));
            }
        }
        if let Some((certificate, key)) = &self.identity {
            let (certificate, key) = (certificate.read()?, key.read()?);
            config = config.identity(Identity::from_pem(certificate.expose(), key.expose()));
        }
        // Parses what was read. The address is never connected to.
        let parsed = Endpoint::from_static("https://127.0.0.1:1").tls_config(config.clone());
        match parsed {
            Ok(_) => Ok(config),
            Err(error) => Err(invalid_config(format!(
                "the CA or the client's certificate cannot be used: {}",
                with_all_causes(&error.into())
            ))),
        }
    }
}

impl Pem {
    fn given(pem: impl Into<Vec<u8>>) -> Self {
        Self::Given(Secret::new(pem.into()))
    }

    fn read(&self) -> Result<Secret<Vec<u8>>> {
        match self {
            Self::Given(pem) => Ok(pem.clone()),
            Self::File(path) => match fs::read(path) {
                Ok(pem) => Ok(Secret::new(pem)),
                Err(error) => Err(invalid_config(format!(
                    "{} cannot be read: {error}",
                    path.display()
                ))),
            },
        }
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
