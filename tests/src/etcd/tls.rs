//! Certificates of a private CA, made on the fly, and the files with them for an etcd.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use std::{fmt, fs, path::Path};

/// A private CA: signs the certificates of etcds and of clients.
///
/// ```no_run
/// # use sd_tests::{Ca, Etcd};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let ca = Ca::new();
/// let etcd = Etcd::setup().tls(&ca).client_certificates().start().await;
/// let me = ca.client("discovery");
/// // ... a client that trusts `ca.pem()` and shows `me` talks to `etcd.endpoint()` ...
/// # }
/// ```
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, without that of the CA.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Ca {
    /// A new CA.
    #[allow(clippy::new_without_default)] // Each is another one.
    pub fn new() -> Self {
        let mut params = named("a CA made for a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("a CA signs itself"))
    }

    /// The CA's certificate (PEM).
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a client called `name`.
    pub fn client(&self, name: &str) -> Certificate {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A certificate for a server at `hosts`: names, addresses or both.
    pub fn server(&self, hosts: &[&str]) -> Certificate {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("hosts fit into a certificate");
        // etcd's gateway is a client of its own server, and presents the same certificate. It must
        // have no name, or etcd would treat it as a user's.
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Certificate {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key can be made");
        let signed = params.signed_by(&key, &self.0);
        Certificate {
            certificate: signed.expect("a CA signs").pem(),
            key: key.serialize_pem(),
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").finish_non_exhaustive()
    }
}

/// The TLS settings of an etcd and of the test's own client.
#[derive(Debug, Clone)]
pub(crate) struct ServerTls {
    pub(crate) ca: String,
    pub(crate) tester: Certificate,
    server: Certificate,
    /// Whether clients have to present a certificate.
    pub(super) client_certificates: bool,
}

impl ServerTls {
    /// Settings with certificates of `ca` for the server and the test's own client.
    pub(super) fn new(ca: &Ca) -> Self {
        Self {
            ca: ca.pem(),
            server: ca.server(&["127.0.0.1", "localhost"]),
            tester: ca.client("the test itself"),
            client_certificates: false,
        }
    }

    /// Writes the files for an etcd into `dir`, and returns the flags that name them.
    pub(crate) fn install(&self, dir: &Path) -> Vec<String> {
        let write = |name: &str, pem: &str| {
            let path = dir.join(name);
            fs::write(&path, pem).expect("a certificate can be written");
            path.display().to_string()
        };
        let mut flags = vec![
            format!(
                "--cert-file={}",
                write("cert.pem", &self.server.certificate)
            ),
            format!("--key-file={}", write("key.pem", &self.server.key)),
        ];
        if self.client_certificates {
            flags.push(format!("--trusted-ca-file={}", write("ca.pem", &self.ca)));
            flags.push("--client-cert-auth".to_owned());
        }
        flags
    }
}
