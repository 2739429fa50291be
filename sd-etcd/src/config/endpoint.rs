//! Endpoints as users write them.

use crate::errors::invalid_config;
use sd_core::Result;

/// Returns `endpoint` with its scheme.
///
/// The scheme is `https` if the client is `encrypted`, which never falls back to plain text.
///
/// # Errors
/// [`Invalid::Config`](sd_core::Invalid::Config) if it is not `host:port`, with or without a scheme
/// that fits.
pub(super) fn checked(endpoint: &str, encrypted: bool) -> Result<String> {
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
        "http" | "https" => {}
        _ => {
            return Err(invalid_config(format!(
                "the endpoint {endpoint} is neither http:// nor https://"
            )));
        }
    }
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_graphic = authority.bytes().all(|byte| byte.is_ascii_graphic());
    if !has_port || !is_graphic || authority.starts_with(':') || authority.contains('/') {
        return Err(invalid_config(format!(
            "the endpoint {endpoint:?} is not host:port, such as http://127.0.0.1:2379"
        )));
    }
    Ok(format!("{scheme}://{authority}"))
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
        ] {
            assert_eq!(checked(given, false).ok().as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn tls_never_falls_back_to_plain_text() {
        assert!(checked("http://127.0.0.1:2379", true).is_err());
        #[cfg(feature = "tls")]
        assert_eq!(
            checked("127.0.0.1:2379", true).unwrap(),
            "https://127.0.0.1:2379"
        );
        #[cfg(not(feature = "tls"))]
        assert!(checked("https://127.0.0.1:2379", false).is_err());
    }
}
