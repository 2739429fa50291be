//! Connections within TLS.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use sd_tower::{ConnectErrorKind, Connection, Http2Options, Tls, TlsError};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// A CA, and what it signs.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for `name`, and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        Arc::new(roots)
    }

    /// Serves as `name`, with these protocols. Asks for a certificate of `clients`.
    pub(crate) fn acceptor(&self, name: &str, alpn: &[&[u8]], clients: Option<&Ca>) -> TlsAcceptor {
        let (certificate, key) = self.sign(name);
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(ca) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(ca.roots(), provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut config = config.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn serving(acceptor: TlsAcceptor) -> Server {
    Server::speaking(server::Protocol::Tls(acceptor)).await
}

#[tokio::test]
async fn the_name_is_that_of_the_address_or_the_one_that_is_given_for_all() {
    let ca = Ca::new();
    let trusting = Tls::builder().ca(ca.pem());
    let by_address = serving(ca.acceptor("127.0.0.1", &[b"h2"], None)).await;
    let connection = connect(
        by_address.address,
        once().tls(trusting.clone().build().unwrap()),
    );
    let address = by_address.address;
    assert_eq!(
        text(&connection, "/a").await.unwrap(),
        format!("https {address} /a")
    );

    let by_service = serving(ca.acceptor("hello.internal", &[b"h2"], None)).await;
    let named = trusting
        .clone()
        .server_name("hello.internal")
        .build()
        .unwrap();
    let connection = connect(by_service.address, once().tls(named));
    text(&connection, "/a").await.unwrap();

    let unnamed = connect(by_service.address, once().tls(trusting.build().unwrap()));
    let error = failing(&unnamed).await;
    assert_eq!(error.kind(), ConnectErrorKind::Tls);
    let why = sd_core::ErrorChain(&error).to_string();
    assert!(why.contains("not valid for name"), "{why}");
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_trusted() {
    let (ca, another) = (Ca::new(), Ca::new());
    let server = serving(another.acceptor("127.0.0.1", &[b"h2"], None)).await;
    let tls = Tls::builder().ca(ca.pem()).build().unwrap();
    let connection = connect(server.address, once().tls(tls));
    let error = get(&connection, "/").await.unwrap_err();
    assert_eq!(kind(&error), ConnectErrorKind::Tls);
}

#[tokio::test]
async fn the_client_shows_its_certificate() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let server = serving(ca.acceptor("127.0.0.1", &[b"h2"], Some(&clients))).await;
    let (certificate, key) = clients.sign("client");
    let tls = Tls::builder()
        .ca(ca.pem())
        .identity(certificate, key)
        .build()
        .unwrap();
    let connection = connect(server.address, once().tls(tls));
    text(&connection, "/").await.unwrap();

    let nobody = Tls::builder().ca(ca.pem()).build().unwrap();
    let connection = connect(server.address, once().tls(nobody));
    // With TLS 1.3 the client believes to be connected before it is refused.
    assert!(matches!(
        failing(&connection).await.kind(),
        ConnectErrorKind::Tls | ConnectErrorKind::Http2
    ));
}

#[tokio::test]
async fn a_server_that_does_not_offer_http2_is_known_as_such() {
    let ca = Ca::new();
    for alpn in [&[b"http/1.1" as &[u8]] as &[&[u8]], &[]] {
        let server = serving(ca.acceptor("127.0.0.1", alpn, None)).await;
        let tls = Tls::builder().ca(ca.pem()).build().unwrap();
        let connection = connect(server.address, once().tls(tls));
        assert_eq!(failing(&connection).await.kind(), ConnectErrorKind::Tls);
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_an_error_when_it_is_built() {
    let (ca, another) = (Ca::new(), Ca::new());
    let (certificate, key) = ca.sign("client");
    let (_, other_key) = another.sign("client");
    let build = || Tls::builder().ca(ca.pem());
    assert!(matches!(
        Tls::builder().ca("none").build(),
        Err(TlsError::Pem("the CA", _))
    ));
    let no_key = build().identity(certificate.clone(), "none").build();
    assert!(matches!(no_key, Err(TlsError::Pem("the client's key", _))));
    let no_certificate = build().identity("none", key.clone()).build();
    assert!(matches!(
        no_certificate,
        Err(TlsError::Pem("the client's certificate", _))
    ));
    let mismatch = build().identity(certificate.clone(), other_key).build();
    assert!(
        matches!(mismatch, Err(TlsError::Unusable(_))),
        "{mismatch:?}"
    );
    let name = build().server_name("no name").build();
    assert!(matches!(name, Err(TlsError::ServerName(_))));
    build().identity(certificate, key).build().unwrap();
    let connection = Connection::<Body>::new(
        "no_name_:80",
        once().tls(build().build().unwrap()),
        Http2Options::new(),
    );
    drop(connection);
}
