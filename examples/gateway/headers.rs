//! Headers that belong to one connection, and headers that tell services who has called.

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{
        CONNECTION, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
        TRANSFER_ENCODING, UPGRADE, VIA,
    },
};
use std::net::IpAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// What the gateway is called in `Via`.
const PSEUDONYM: &str = "gateway";

/// Removes the headers of one connection ([RFC 9110, section 7.6.1]), and those that `Connection`
/// names. `Trailer` stays, since trailers are passed on.
///
/// [RFC 9110, section 7.6.1]: https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in options(headers, CONNECTION) {
        if let Ok(name) = HeaderName::try_from(name) {
            headers.remove(name);
        }
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHENTICATION_INFO,
        PROXY_AUTHORIZATION,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// The comma-separated options in all headers of this name, in small letters.
pub(crate) fn options(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let options = texts.flat_map(|text| text.split(','));
    options
        .map(|option| option.trim().to_ascii_lowercase())
        .filter(|option| !option.is_empty())
        .collect()
}

/// Where a request comes from, and how.
pub(crate) struct Origin<'a> {
    pub(crate) client: IpAddr,
    pub(crate) version: Version,
    /// What the request calls the gateway: `Host` or `:authority`.
    pub(crate) host: Option<HeaderValue>,
    /// The part that was taken off the path.
    pub(crate) prefix: &'a str,
    /// Whether what the request says of its way so far is true.
    pub(crate) is_trusted: bool,
}

impl Origin<'_> {
    /// Makes the headers of a request those of the one that is passed on, but for upgrades: without
    /// those of the connection, and with those that tell where it comes from.
    pub(crate) fn pass_on(&self, headers: &mut HeaderMap) {
        let takes_trailers = options(headers, TE)
            .iter()
            .any(|coding| coding == "trailers");
        let was_forwarded = match self.is_trusted {
            true => [FOR, FORWARDED, PROTO, FORWARDED_HOST].map(|name| joined(headers, &name)),
            false => [const { None }; 4],
        };
        remove_hop_by_hop(headers);
        // The gateway has answered it, when it began to read the body.
        headers.remove(EXPECT);
        if takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        match &self.host {
            Some(host) => headers.insert(HOST, host.clone()),
            None => headers.remove(HOST),
        };
        self.tell_forwarded(headers, was_forwarded);
        if !self.prefix.is_empty() {
            set(headers, PREFIX, self.prefix);
        }
        let version = match self.version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        let via = joined(headers, &VIA);
        set(
            headers,
            VIA,
            &listed(via, &format!("{version} {PSEUDONYM}")),
        );
    }

    fn tell_forwarded(&self, headers: &mut HeaderMap, before: [Option<String>; 4]) {
        let [forwarded_for, forwarded, proto, forwarded_host] = before;
        let host = self.host.as_ref().and_then(|host| host.to_str().ok());
        let own = match self.client {
            IpAddr::V4(client) => format!("for={client}"),
            IpAddr::V6(client) => format!("for=\"[{client}]\""),
        };
        let own = match host.filter(|host| !host.contains(['"', '\\'])) {
            Some(host) => format!("{own};host=\"{host}\";proto=http"),
            None => format!("{own};proto=http"),
        };
        set(headers, FORWARDED, &listed(forwarded, &own));
        set(
            headers,
            FOR,
            &listed(forwarded_for, &self.client.to_string()),
        );
        set(headers, PROTO, proto.as_deref().unwrap_or("http"));
        match forwarded_host.as_deref().or(host) {
            Some(host) => set(headers, FORWARDED_HOST, host),
            None => {
                headers.remove(FORWARDED_HOST);
            }
        }
    }
}

/// The values of all headers of this name as one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values = headers.get_all(name).iter();
    let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// The list with one more element.
fn listed(before: Option<String>, one: &str) -> String {
    match before {
        Some(before) => format!("{before}, {one}"),
        None => one.to_owned(),
    }
}

/// Replaces all headers of this name.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::try_from(value) {
        Ok(value) => headers.insert(name, value),
        Err(_) => headers.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<const N: usize>(all: [(&str, &str); N]) -> HeaderMap {
        let one = |(name, value): (&str, &str)| {
            let name = HeaderName::try_from(name).expect("a name");
            (name, HeaderValue::try_from(value).expect("a value"))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in all.map(one) {
            headers.append(name, value);
        }
        headers
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut shown: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        shown.sort();
        shown
    }

    fn origin() -> Origin<'static> {
        Origin {
            client: "10.0.0.7".parse().expect("an address"),
            version: Version::HTTP_11,
            host: Some(HeaderValue::from_static("example.org:8080")),
            prefix: "/hello",
            is_trusted: false,
        }
    }

    #[test]
    fn headers_of_one_connection_are_not_passed_on() {
        let mut all = headers([
            ("connection", "close, X-Secret ,keep-alive"),
            ("connection", "x-other"),
            ("x-secret", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "basic"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("trailer", "x-sum"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut all);
        assert_eq!(shown(&all), ["accept: */*", "trailer: x-sum"]);
    }

    #[test]
    fn a_service_is_told_who_has_called_and_nothing_that_the_caller_made_up() {
        let mut all = headers([
            ("host", "example.org:8080"),
            ("te", "gzip;q=0.5, trailers"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "bank.example"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.2.3.4"),
            ("via", "1.0 fred"),
        ]);
        origin().pass_on(&mut all);
        let expected = [
            "forwarded: for=10.0.0.7;host=\"example.org:8080\";proto=http",
            "host: example.org:8080",
            "te: trailers",
            "via: 1.0 fred, 1.1 gateway",
            "x-forwarded-for: 10.0.0.7",
            "x-forwarded-host: example.org:8080",
            "x-forwarded-prefix: /hello",
            "x-forwarded-proto: http",
        ];
        assert_eq!(shown(&all), expected);
    }

    #[test]
    fn what_a_trusted_proxy_says_is_added_to() {
        let mut all = headers([
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("forwarded", "for=1.2.3.4;proto=https"),
        ]);
        let origin = Origin {
            client: "2001:db8::1".parse().expect("an address"),
            host: None,
            prefix: "",
            is_trusted: true,
            ..origin()
        };
        origin.pass_on(&mut all);
        let expected = [
            "forwarded: for=1.2.3.4;proto=https, for=\"[2001:db8::1]\";proto=http",
            "via: 1.1 gateway",
            "x-forwarded-for: 1.2.3.4, 5.6.7.8, 2001:db8::1",
            "x-forwarded-host: shop.example",
            "x-forwarded-proto: https",
        ];
        assert_eq!(shown(&all), expected);
    }
}
