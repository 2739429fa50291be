//! Certificates of a private CA, made on the fly, and the files with them for an etcd.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use std::{fmt, fs, path::Path};

/// Where an etcd of the harness is reached.
const HOSTS: [&str; 2] = ["127.0.0.1", "localhost"];
/// The names of an etcd's files.
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";
const TRUSTED: &str = "ca.pem";

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
        self.sign(for_client(name))
    }

    /// The same, but it has expired.
    pub fn expired_client(&self, name: &str) -> Certificate {
        self.sign(expired(for_client(name)))
    }

    /// A certificate for an etcd of the harness.
    pub fn server(&self) -> Certificate {
        self.sign(for_server())
    }

    /// The same, but it has expired.
    pub fn expired_server(&self) -> Certificate {
        self.sign(expired(for_server()))
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

fn for_client(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn for_server() -> CertificateParams {
    let hosts = HOSTS.map(str::to_owned);
    let mut params = CertificateParams::new(hosts).expect("hosts fit into a certificate");
    // etcd's gateway is a client of its own server, and presents the same certificate. It must
    // have no name, or etcd would treat it as a user's.
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 2);
    params
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
            server: ca.server(),
            tester: ca.client("the test itself"),
            client_certificates: false,
        }
    }

    /// Writes the files for an etcd into `dir`, and returns the flags that name them.
    pub(crate) fn install(&self, dir: &Path) -> Vec<String> {
        self.server.install(dir);
        let file = |name: &str| dir.join(name).display().to_string();
        let mut flags = vec![
            format!("--cert-file={}", file(CERTIFICATE)),
            format!("--key-file={}", file(KEY)),
        ];
        if self.client_certificates {
            fs::write(dir.join(TRUSTED), &self.ca).expect("a certificate can be written");
            flags.push(format!("--trusted-ca-file={}", file(TRUSTED)));
            flags.push("--client-cert-auth".to_owned());
        }
        flags
    }
}

impl Certificate {
    /// Writes the files of an etcd, which reads them at each handshake.
    pub(super) fn install(&self, dir: &Path) {
        for (name, pem) in [(CERTIFICATE, &self.certificate), (KEY, &self.key)] {
            fs::write(dir.join(name), pem).expect("a certificate can be written");
        }
    }
}
