//! Endpoints as users write them.

use crate::errors::invalid_config;
use sd_core::Result;
use std::{fmt, net::IpAddr, sync::Arc};

/// A URL of the form `http://host:port` or `https://host:port`. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(Arc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    url: String,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads `endpoint`, with or without a scheme. The scheme is `https` if the client is
    /// `encrypted`, which never falls back to plain text.
    ///
    /// # Errors
    /// [`Invalid::Config`](sd_core::Invalid::Config) if it is not `host:port`, with or without a
    /// scheme that fits. An endpoint with a user or a password in it is not repeated.
    pub(crate) fn new(endpoint: &str, encrypted: bool) -> Result<Self> {
        if holds_credentials(endpoint) {
            return Err(invalid_config(
                "an endpoint has a user or a password in it: use `EtcdClientBuilder::user`",
            ));
        }
        let (scheme, authority) = match endpoint.split_once("://") {
            Some((scheme, rest)) => (scheme, rest.trim_end_matches('/')),
            None if encrypted => ("https", endpoint),
            None => ("http", endpoint),
        };
        match scheme {
            "http" if encrypted => {
                return Err(invalid_config(format!(
                    "the endpoint {endpoint} is plain text, but TLS is configured, or others are \
                     https://: use https:// for all"
                )));
            }
            "https" if cfg!(not(feature = "tls")) => {
                return Err(invalid_config(format!(
                    "the endpoint {endpoint} needs the feature `tls` of sd-etcd"
                )));
            }
            "https" if !encrypted => {
                return Err(invalid_config(format!(
                    "the endpoint {endpoint} is https://, but the client was built for plain text"
                )));
            }
            "http" | "https" => {}
            _ => {
                return Err(invalid_config(format!(
                    "the endpoint {endpoint} is neither http:// nor https://"
                )));
            }
        }
        let Some((host, port)) = host_and_port(authority) else {
            return Err(invalid_config(format!(
                "the endpoint {endpoint:?} is not host:port, such as http://127.0.0.1:2379"
            )));
        };
        Ok(Self(Arc::new(Parts {
            url: format!("{scheme}://{authority}"),
            host,
            port,
        })))
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    pub(crate) fn scheme(&self) -> &str {
        if self.0.url.starts_with("https:") {
            "https"
        } else {
            "http"
        }
    }

    /// Returns the name or the address, an IPv6 address without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.0.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    /// Whether what is sent there does not leave this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.is_loopback(),
            None => self.0.host == "localhost",
        }
    }

    /// Returns the address, unless the host is a name.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.0.host.parse().ok()
    }
}

/// Whether `endpoint`, as a user writes it, may have a user or a password in it.
fn holds_credentials(endpoint: &str) -> bool {
    endpoint.contains('@')
}

/// An endpoint as a user writes it, for `Debug`: without a password.
pub(crate) fn without_credentials(endpoint: &str) -> &str {
    match holds_credentials(endpoint) {
        true => "(an endpoint with credentials)",
        false => endpoint,
    }
}

fn host_and_port(authority: &str) -> Option<(String, u16)> {
    let (host, port) = authority.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let is_graphic = authority.bytes().all(|byte| byte.is_ascii_graphic());
    // The authority has to be one for the HTTP client, too: no path, no stray characters.
    let is_uri = format!("http://{authority}").parse::<http::Uri>().is_ok();
    if host.is_empty() || !is_graphic || !is_uri || authority.contains(['/', '?', '#']) {
        return None;
    }
    let host = host.strip_prefix('[').unwrap_or(host);
    Some((host.strip_suffix(']').unwrap_or(host).to_owned(), port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.url)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked_before_anything_is_sent() {
        for (given, expected) in [
            ("http://127.0.0.1:2379", Some("http://127.0.0.1:2379")),
            ("http://127.0.0.1:2379/", Some("http://127.0.0.1:2379")),
            ("etcd.local:2379", Some("http://etcd.local:2379")),
            ("http://[::1]:2379", Some("http://[::1]:2379")),
            ("", None),
            ("http://", None),
            ("etcd.local", None),
            ("etcd.local:0", None),
            ("etcd.local:http", None),
            ("ftp://etcd.local:2379", None),
            ("http://a b:2379", None),
            ("http://a/b:2379", None),
            ("http://root:secret@a:2379", None),
            ("http://a?b:2379", None),
            ("http://[::1:2379", None),
        ] {
            let endpoint = Endpoint::new(given, false).ok();
            assert_eq!(endpoint.as_ref().map(Endpoint::url), expected, "{given:?}");
        }
    }

    /// hostile row 11
    #[test]
    fn an_endpoint_with_a_password_is_refused_and_not_repeated() {
        for given in [
            "http://root:secret@etcd.local:2379",
            "https://root:secret@etcd.local:2379",
            "root:secret@etcd.local:2379",
            "http://secret@etcd.local:2379",
            "ftp://root:secret@etcd.local",
            "http://etcd.local:2379/?password=secret@",
        ] {
            for encrypted in [false, true] {
                let error = Endpoint::new(given, encrypted).unwrap_err();
                let texts = [error.to_string(), format!("{error:?}")];
                assert!(texts.iter().all(|text| !text.contains("secret")), "{error}");
                assert!(texts[0].contains("EtcdClientBuilder::user"), "{error}");
            }
            assert!(!without_credentials(given).contains("secret"));
        }
    }

    #[test]
    fn what_stays_on_this_machine_is_known() {
        let is_loopback = |endpoint| Endpoint::new(endpoint, false).unwrap().is_loopback();
        assert!(
            ["127.0.0.2:1", "[::1]:1", "localhost:1"]
                .into_iter()
                .all(is_loopback)
        );
        assert!(
            !["10.0.0.1:1", "[fe80::1]:1", "etcd.local:1"]
                .into_iter()
                .any(is_loopback)
        );
    }

    #[test]
    fn tls_never_falls_back_to_plain_text() {
        assert!(Endpoint::new("http://127.0.0.1:2379", true).is_err());
        assert!(Endpoint::new("https://127.0.0.1:2379", false).is_err());
        #[cfg(feature = "tls")]
        assert_eq!(
            Endpoint::new("127.0.0.1:2379", true).unwrap().url(),
            "https://127.0.0.1:2379"
        );
    }

    #[test]
    fn the_parts_of_an_endpoint_are_known() {
        let name = Endpoint::new("http://etcd.local:2379", false).unwrap();
        assert_eq!(
            (name.host(), name.port(), name.ip()),
            ("etcd.local", 2379, None)
        );
        let address = Endpoint::new("[::1]:2379", false).unwrap();
        assert_eq!(address.ip(), Some("::1".parse().unwrap()));
        assert_eq!(address.scheme(), "http");
    }
}
