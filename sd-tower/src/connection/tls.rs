//! TLS towards endpoints.

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
};
use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

/// TLS towards endpoints: which servers are trusted, and the certificate of the client. Cheap to
/// clone.
///
/// ```
/// # fn example(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<(), sd_tower::TlsError> {
/// use sd_tower::{ConnectOptions, Tls};
///
/// let tls = Tls::builder()
///     .ca(ca)
///     .identity(certificate, key)
///     .server_name("hello.internal")
///     .build()?;
/// let options = ConnectOptions::new().tls(tls);
/// # Ok(())
/// # }
/// ```
///
/// Sessions are resumed where a server offers it. The protocols offered by ALPN are those that the
/// caller speaks: `h2` for gRPC, those of [`HttpVersions`](crate::HttpVersions) for HTTP.
#[derive(Clone)]
pub struct Tls {
    h2: Arc<ClientConfig>,
    #[cfg(feature = "hyper")]
    http: Arc<ClientConfig>,
    #[cfg(feature = "hyper")]
    http1: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Begins with the defaults: the CAs of the system are trusted (feature `tls-roots`), and the
    /// client shows no certificate.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    /// TLS as `config` says, for those who have a configuration or need more of rustls than the
    /// builder has. Its ALPN protocols are replaced.
    pub fn from_config(config: ClientConfig) -> Self {
        let with_alpn = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
            Arc::new(config)
        };
        Self {
            h2: with_alpn(&[b"h2"]),
            #[cfg(feature = "hyper")]
            http: with_alpn(&[b"h2", b"http/1.1"]),
            #[cfg(feature = "hyper")]
            http1: with_alpn(&[b"http/1.1"]),
            server_name: None,
        }
    }

    /// Expects this name in the certificates of all endpoints, and sends it to them (SNI), instead of
    /// the host of each address, or with HTTP of the request's URI. For certificates by the name of
    /// the service.
    ///
    /// # Errors
    /// [`TlsError::ServerName`] if it is neither a DNS name nor an IP address.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, TlsError> {
        self.server_name = Some(server_name(name)?);
        Ok(self)
    }

    /// The name to expect from the server at `host`.
    pub(super) fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => server_name(host),
        }
    }

    pub(super) fn for_h2(&self) -> Arc<ClientConfig> {
        self.h2.clone()
    }

    #[cfg(feature = "hyper")]
    pub(super) fn for_http(&self) -> Arc<ClientConfig> {
        self.http.clone()
    }

    #[cfg(feature = "hyper")]
    pub(super) fn for_http1(&self) -> Arc<ClientConfig> {
        self.http1.clone()
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Collects the options of a [`Tls`]. All of it is checked by [`build`](Self::build).
///
/// The key is wiped from memory with the builder. The parsed key that rustls holds for as long as there is a
/// [`Tls`] is not.
#[derive(Clone, Default)]
#[must_use]
pub struct TlsBuilder {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    server_name: Option<String>,
}

impl TlsBuilder {
    /// Trusts only servers whose certificate is signed by this CA, and not those that the system
    /// trusts. PEM, one certificate or several.
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Shows this certificate to servers that ask for one. Both in PEM; the certificate may be
    /// followed by those that signed it.
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((certificate.into(), Zeroizing::new(key.into())));
        self
    }

    /// See [`Tls::with_server_name`].
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Reads the certificates. Without a CA this reads those of the system, which takes some
    /// milliseconds: build once and clone.
    ///
    /// # Errors
    /// If what was given is not PEM, not usable, or does not match; if nobody would be trusted.
    pub fn build(self) -> Result<Tls, TlsError> {
        let roots = match &self.ca {
            Some(pem) => given_roots(pem)?,
            None => system_roots()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate, "the client's certificate")?;
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| TlsError::pem("the client's key", &error))?;
                let config = config.with_client_auth_cert(chain, key);
                config.map_err(TlsError::Unusable)?
            }
        };
        let tls = Tls::from_config(config);
        match self.server_name {
            Some(name) => tls.with_server_name(&name),
            None => Ok(tls),
        }
    }
}

impl fmt::Debug for TlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsBuilder")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

fn certificates(pem: &[u8], whose: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates.map_err(|error| TlsError::pem(whose, &error))? {
        // The iterator skips what is not a certificate.
        none if none.is_empty() => Err(TlsError::pem(whose, &pem::Error::NoItemsFound)),
        some => Ok(some),
    }
}

fn given_roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "the CA")? {
        roots.add(certificate).map_err(TlsError::Unusable)?;
    }
    Ok(roots)
}

#[cfg(feature = "tls-roots")]
fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Stores have certificates of all ages and kinds. Those that cannot be read are left out.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(roots)
}

#[cfg(not(feature = "tls-roots"))]
fn system_roots() -> Result<RootCertStore, TlsError> {
    Err(TlsError::NoRoots)
}

/// Why TLS cannot be used as it was configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No server would be trusted.
    #[error(
        "no CA is trusted: give one with `TlsBuilder::ca`, or trust those of the system with the \
         feature `tls-roots` of sd-tower, if it has any"
    )]
    NoRoots,
    /// The named input could not be read as PEM, for this reason. The input is not repeated: a key whose
    /// line breaks were lost is one line, which the parser takes for a marker.
    #[error("{0} cannot be read: {1}")]
    Pem(&'static str, &'static str),
    /// A certificate or key cannot be used, or the two do not match.
    #[error("the CA or the client's certificate cannot be used")]
    Unusable(#[source] rustls::Error),
    /// The name is neither a DNS name nor an IP address.
    #[error("{} is no name of a server", sd_core::Escaped(.0))]
    ServerName(String),
}

impl TlsError {
    fn pem(whose: &'static str, error: &pem::Error) -> Self {
        let reason = match error {
            pem::Error::MissingSectionEnd { .. } => "the line of its end is missing",
            pem::Error::IllegalSectionStart { .. } => "the line of its start is not one",
            pem::Error::Base64Decode(_) => "it is not base64",
            pem::Error::NoItemsFound => "there is none in it (PEM)",
            _ => "it is not PEM",
        };
        Self::Pem(whose, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sd_core::ErrorChain;

    /// hostile row 11: a key that an environment variable made one line of, and others that are none.
    #[test]
    fn a_key_that_cannot_be_read_is_not_repeated() {
        const SECRET: &str = "c2VjcmV0IHNlY3JldA";
        let certificate = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let ca = certificate.cert.pem();
        for (key, reason) in [
            (
                format!("-----BEGIN PRIVATE KEY-----{SECRET}-----END PRIVATE KEY-----"),
                "end",
            ),
            (format!("-----BEGIN PRIVATE KEY-----{SECRET}\n"), "start"),
            (format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n"), "end"),
            (
                format!("-----BEGIN PRIVATE KEY-----\n{SECRET}?\n-----END PRIVATE KEY-----\n"),
                "base64",
            ),
            (SECRET.to_owned(), "none"),
            (
                format!("-----BEGIN PRIVATE KEY-----\n{SECRET}==\n-----END PRIVATE KEY-----\n"),
                "cannot be used",
            ),
        ] {
            let builder = Tls::builder().ca(ca.as_str()).identity(ca.as_str(), key);
            let shown = format!("{builder:?}");
            let error = builder.build().unwrap_err();
            let chain = ErrorChain(&error).to_string();
            assert!(chain.contains(reason), "{reason}: {chain}");
            let decimals = |text: &str| format!("{:?}", text.as_bytes()).replace(['[', ']'], "");
            for text in [shown, chain, format!("{error:?}")] {
                assert!(!text.contains(SECRET), "{text}");
                assert!(!text.contains(&decimals(SECRET)), "{text}");
            }
        }
    }
}
