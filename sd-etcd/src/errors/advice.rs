//! What an operator has to check when a connection fails.
//!
//! gRPC hides how a connection ended, and TLS says little on purpose. A missing client certificate
//! shows as an alert or, as often, as a closed connection (rustls with etcd 3.4 to 3.7). Plain text
//! at a port that expects TLS shows as a broken pipe, as a restart does. The advice names the cause
//! where it can be told, and the likely ones where it cannot.

/// How far a connection had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The handshake was not finished.
    Connecting,
    /// The handshake was finished, and nothing was answered yet.
    Connected,
    /// Something was answered.
    Serving,
}

/// Returns what to check after a connection to `endpoint` failed at `stage` with `causes`.
pub(super) fn advice(endpoint: &str, stage: Stage, causes: &str) -> Option<&'static str> {
    let says = |word: &str| causes.contains(word);
    let encrypted = endpoint.starts_with("https://");
    if says("authentication failed") {
        return Some("check the name and the password given to `EtcdClientBuilder::user`");
    }
    if says("invalid peer certificate") {
        return Some(if says("for name") || says("NotValidForName") {
            "the server's certificate is for another host: check the endpoint, or name the host in \
             the certificate with `Tls::domain`"
        } else if says("expired") || says("Expired") || says("not valid yet") || says("NotValidYet")
        {
            "check the dates of the server's certificate, and the clocks"
        } else {
            "the server's certificate is not of a CA that this client trusts: check `Tls::ca`"
        });
    }
    if says("received fatal alert") {
        return Some(if says("ertificate") || says("UnknownCA") {
            "etcd wants a client certificate of the CA in its --trusted-ca-file: check \
             `Tls::identity`"
        } else {
            "check which versions and ciphers of TLS etcd takes"
        });
    }
    let closed = [
        "handshake eof",
        "corrupt message",
        "broken pipe",
        "connection closed",
        "connection reset",
        "Connection reset",
        "Broken pipe",
    ];
    if !closed.into_iter().any(says) {
        return None;
    }
    match (encrypted, stage) {
        (true, Stage::Connecting) => Some(
            "no TLS was answered: etcd is stopping, or its port talks plain text: check whether \
             the endpoint has to be http://",
        ),
        (true, Stage::Connected) => Some(
            "closed before it answered anything: etcd is stopping, or it wants a client \
             certificate of the CA in its --trusted-ca-file: check `Tls::identity`",
        ),
        (false, Stage::Connecting | Stage::Connected) => Some(
            "closed before it answered anything: etcd is stopping, or its port talks TLS: check \
             whether the endpoint has to be https://",
        ),
        (_, Stage::Serving) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reasons as they come, and what the advice has to name.
    #[test]
    fn each_misconfiguration_is_named() {
        let tls = "https://127.0.0.1:2379";
        let plain = "http://127.0.0.1:2379";
        let (connecting, connected) = (Stage::Connecting, Stage::Connected);
        let host = "invalid peer certificate: certificate not valid for name \"a\"";
        let expired = "invalid peer certificate: certificate expired: verified at time 2";
        let pipe = "stream closed because of a broken pipe";
        let reset = "Connection reset by peer (os error 104): transport error";
        let closed = "operation was canceled: connection closed";
        for (endpoint, stage, causes, named) in [
            (
                tls,
                connecting,
                "invalid peer certificate: UnknownIssuer",
                "`Tls::ca`",
            ),
            (
                tls,
                connecting,
                "invalid peer certificate: BadSignature",
                "`Tls::ca`",
            ),
            (tls, connecting, host, "`Tls::domain`"),
            (tls, connecting, expired, "clocks"),
            (
                tls,
                connected,
                "received fatal alert: CertificateRequired",
                "identity",
            ),
            (
                tls,
                connected,
                "received fatal alert: BadCertificate",
                "identity",
            ),
            (
                tls,
                connected,
                "received fatal alert: UnknownCA",
                "identity",
            ),
            (
                tls,
                connecting,
                "received fatal alert: HandshakeFailure",
                "ciphers",
            ),
            (tls, connected, closed, "identity"),
            (tls, connected, pipe, "identity"),
            (tls, connecting, "tls handshake eof", "http://"),
            (tls, connecting, reset, "http://"),
            (plain, connected, pipe, "https://"),
            (plain, connecting, "authentication failed, ...", "password"),
        ] {
            let advice = advice(endpoint, stage, causes);
            let says_so = advice.is_some_and(|advice| advice.contains(named));
            assert!(says_so, "{causes}: {advice:?}");
        }
    }

    #[test]
    fn an_etcd_that_goes_away_is_no_misconfiguration() {
        let endpoint = "http://127.0.0.1:2379";
        assert_eq!(advice(endpoint, Stage::Serving, "broken pipe"), None);
        assert_eq!(
            advice(endpoint, Stage::Connecting, "Connection refused"),
            None
        );
    }
}
