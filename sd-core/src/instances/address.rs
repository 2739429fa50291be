//! Addresses: the host and port that an instance is called at, or a URL with these.
//!
//! An address ends up in URLs, headers and connection attempts, and whoever may write to the registry
//! chooses it. So the grammar is strict: a text that two parsers could read in two ways is refused.

use crate::registry::{Escaped, Invalid};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// A longer text is not an address.
const LONGEST: usize = 2048;
/// A longer text is not the name of a host (RFC 1035).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// The schemes of the URLs that are called, each with the port that it stands for.
pub(super) const SCHEMES: [(&str, Option<u16>); 5] = [
    ("http", Some(80)),
    ("https", Some(443)),
    ("grpc", None),
    ("grpcs", None),
    ("tcp", None),
];

/// An address that can be called, in its parts: `host:port`, or a URL with a host. For authors of codecs, whose
/// formats say host, port and scheme in different fields.
///
/// The host is an IP address, that of IPv6 in brackets, or a name of ASCII letters, digits, hyphens and
/// underscores. Which schemes and hosts are called is up to the [`AddressPolicy`](crate::AddressPolicy).
///
/// ```
/// use sd_core::{Address, Invalid};
///
/// let address = Address::try_from("http://hello.local/path")?;
/// assert_eq!((address.scheme(), address.authority()), (Some("http"), "hello.local"));
/// assert_eq!((address.host(), address.port()), ("hello.local", 80));
/// assert_eq!(Address::try_from("[::1]:80")?.host(), "::1");
/// for text in ["0.0.0.0:80", "10.0.0.1", "::1:80", "grpc://10.0.0.1"] {
///     assert!(matches!(Address::try_from(text), Err(Invalid::UncallableAddress { .. })));
/// }
/// # Ok::<(), Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// Of a URL. In the case that it was written in.
    pub(super) scheme: Option<&'a str>,
    /// Host and port as they are written.
    pub(super) authority: &'a str,
    /// The host, if it is no name.
    pub(super) ip: Option<IpAddr>,
    /// As written, or that of the scheme.
    pub(super) port: u16,
}

impl<'a> Address<'a> {
    /// Reads `host:port` or a URL with a host, of any scheme. The host is an IP address or a name of
    /// ASCII letters, digits, hyphens and underscores. A URL without a port is one of `http` or `https`.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        // What most addresses are is read at once.
        if let Ok(address) = text.parse::<SocketAddrV4>()
            && address.port() != 0
            && !address.ip().is_unspecified()
        {
            return Ok(Self {
                scheme: None,
                authority: text,
                ip: Some((*address.ip()).into()),
                port: address.port(),
            });
        }
        if text.len() > LONGEST {
            return Err("it is longer than 2048 bytes");
        }
        let (scheme, authority) = match text.split_once("://") {
            None => (None, text),
            Some((scheme, rest)) => {
                let path = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at(path);
                if !is_scheme(scheme) {
                    return Err("the part before \"://\" is no scheme");
                }
                if !is_path(path) {
                    return Err("the path has characters that do not belong into a URL");
                }
                (Some(scheme), authority)
            }
        };
        if authority.contains('@') {
            return Err("it has a user name or password, which everybody could read");
        }
        if is_bare_ipv6(authority) {
            return Err("write an IPv6 address in brackets, with a port: `[2001:db8::1]:8080`");
        }
        let (host, port) = split_port(authority);
        if host.is_empty() {
            return Err("it has no host; write the one under which consumers reach it");
        }
        let ip = parse_ip(host, authority);
        if host == "*" || ip.is_some_and(|ip| ip.is_unspecified()) {
            return Err(
                "that is every address of this host, to listen on; write the one under which consumers reach it",
            );
        }
        let is_bracketed = authority.starts_with('[');
        if ip.is_none() && (is_bracketed || !is_name(host)) {
            return Err("the host is neither an IP address nor the name of a host");
        }
        Ok(Self {
            scheme,
            authority,
            ip,
            port: parse_port(port, scheme)?,
        })
    }
}

/// `text`, which is no address that is called, for an error: escaped, and without what may be a user or
/// a password.
pub(super) fn without_credentials(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => Escaped(format_args!("***@{host}")).to_string(),
        None => Escaped(text).to_string(),
    }
}

impl<'a> Address<'a> {
    /// The scheme of a URL, in the case that it was written in. `None` of `host:port`.
    pub fn scheme(&self) -> Option<&'a str> {
        self.scheme
    }

    /// Host and port as they are written: `10.0.0.1:8080`. A URL of `http` or `https` may have no port.
    pub fn authority(&self) -> &'a str {
        self.authority
    }

    /// The host, without brackets.
    pub fn host(&self) -> &'a str {
        split_port(self.authority).0
    }

    /// The port. That of the scheme if a URL of `http` or `https` has none.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl<'a> TryFrom<&'a str> for Address<'a> {
    type Error = Invalid;

    /// # Errors
    /// [`Invalid::UncallableAddress`], with what is wrong and what to write instead.
    fn try_from(text: &'a str) -> Result<Self, Invalid> {
        Self::parse(text).map_err(|reason| Invalid::UncallableAddress {
            address: without_credentials(text),
            reason,
        })
    }
}

/// The port, or that of the scheme if there is none.
fn parse_port(port: Option<&str>, scheme: Option<&str>) -> Result<u16, &'static str> {
    let Some(port) = port else {
        let known = SCHEMES
            .iter()
            .find(|(name, _)| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name)));
        let default = known.and_then(|(_, port)| *port);
        return default.ok_or("it has no port; write `host:port`");
    };
    if port.is_empty() {
        return Err("the port is missing after the colon");
    }
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(0) => Err("port 0 means any free port; write the one that the listener got"),
        Ok(port) if is_number => Ok(port),
        _ => Err("the port is not a number from 1 to 65535"),
    }
}

/// The host, without brackets, and what follows its colon.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return match rest.strip_prefix(':') {
            None if !rest.is_empty() => (authority, None),
            port => (host, port),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

/// The address that `host` is. An IPv6 address stands in brackets, an IPv4 address does not. An IPv4
/// address that is written as one of IPv6 is the same address.
fn parse_ip(host: &str, authority: &str) -> Option<IpAddr> {
    if authority.starts_with('[') {
        let ip = host.parse::<Ipv6Addr>().ok()?;
        return Some(IpAddr::from(ip).to_canonical());
    }
    host.parse::<Ipv4Addr>().ok().map(IpAddr::from)
}

/// Whether `authority` is an IPv6 address without brackets, with or without a port.
fn is_bare_ipv6(authority: &str) -> bool {
    let is_ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    let host = authority.rsplit_once(':').map_or("", |(host, _)| host);
    // Without a colon it is none, which nearly all are.
    host.contains(':') && (is_ipv6(authority) || is_ipv6(host))
}

/// Whether `host` is a name of labels. Numbers in another form than `10.0.0.1` are none: resolvers read
/// `2852039166` and `0xa9fea9fe` as addresses.
fn is_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let digits = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    let is_number = match digits {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    name.len() <= LONGEST_NAME && name.split('.').all(is_label) && !is_number
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Whether `path` consists of the characters of RFC 3986, and encodes no control character.
fn is_path(path: &str) -> bool {
    let is_fine =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?#[]".contains(&byte);
    let mut rest = path.as_bytes();
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..]
                if high.is_ascii_hexdigit()
                    && low.is_ascii_hexdigit()
                    && !b"01".contains(high)
                    && (*high, low.to_ascii_lowercase()) != (b'7', b'f') =>
            {
                rest
            }
            [byte, rest @ ..] if is_fine(*byte) => rest,
            _ => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn why_refused(address: &str) -> Option<&'static str> {
        Address::parse(address).err()
    }

    #[test]
    fn hosts_to_listen_on_missing_parts_and_bare_ipv6_cannot_be_called() {
        for (address, part) in [
            (":8080", "no host"),
            ("[]:8080", "no host"),
            ("http://:8080/", "no host"),
            ("http://", "no host"),
            ("http:///", "no host"),
            ("http://?x", "no host"),
            ("unix:///run/hello.sock", "no host"),
            ("0.0.0.0:8080", "every address"),
            ("[::]:8080", "every address"),
            ("[::ffff:0.0.0.0]:8080", "every address"),
            ("*:8080", "every address"),
            ("http://0.0.0.0/path", "every address"),
            ("10.0.0.1:0", "port 0"),
            ("hello.local:0", "port 0"),
            ("grpc://hello:0", "port 0"),
            ("10.0.0.1:", "missing after the colon"),
            ("10.0.0.1", "no port"),
            ("[::1]", "no port"),
            ("grpc://hello", "no port"),
            ("hello.local", "no port"),
            ("::1", "brackets"),
            ("::1:8080", "brackets"),
            ("2001:db8:0:0:0:0:0:1:8080", "brackets"),
        ] {
            let why = why_refused(address).unwrap_or_default();
            assert!(why.contains(part), "{address}: {why}");
        }
    }

    /// Hostile row 8: what two parsers could read in two ways, and what hides in an address.
    #[test]
    fn what_is_no_plain_address_is_refused() {
        for (address, part) in [
            ("http://user:pw@host:1/", "user name"),
            ("http://a@169.254.169.254/", "user name"),
            ("user@host:80", "user name"),
            ("a\u{202e}b:80", "neither"),
            ("x\u{2028}y:80", "neither"),
            ("x\u{85}y:80", "neither"),
            ("\u{9b}31mx:80", "neither"),
            ("a\r\nb:80", "neither"),
            ("a%0d%0aX-Evil:80", "neither"),
            ("http://a\\b:80", "neither"),
            ("münchen:80", "neither"),
            ("[:::::]:80", "neither"),
            ("[fe80::1%eth0]:80", "neither"),
            ("[::1]x:80", "neither"),
            ("[10.0.0.1]:80", "neither"),
            ("[x]:80", "neither"),
            ("..:80", "neither"),
            ("a..b:80", "neither"),
            ("2852039166:80", "neither"),
            ("0xA9FEA9FE:80", "neither"),
            ("169.254.43518:80", "neither"),
            ("010.0.0.1:80", "neither"),
            ("10.0.0.1.:80", "neither"),
            ("h:70000", "1 to 65535"),
            ("h:+80", "1 to 65535"),
            ("h:80\n", "1 to 65535"),
            ("http://h/%0d%0aX-Evil: 1", "path"),
            ("http://h/%0d%0aX-Evil", "path"),
            ("http://h/\u{202e}", "path"),
            ("http://h/a b", "path"),
            ("http://h/%7F", "path"),
            ("1tp://h:1", "scheme"),
            ("://h:1", "scheme"),
        ] {
            let why = why_refused(address).unwrap_or_default();
            assert!(why.contains(part), "{address:?}: {why}");
        }
        assert!(why_refused(&format!("{}:80", "x".repeat(64))).is_some());
        assert!(why_refused(&format!("http://h/{}", "x".repeat(LONGEST))).is_some());
    }

    #[test]
    fn what_is_written_is_read() {
        let v4 = |ip: &str| Some(ip.parse().unwrap());
        for (address, scheme, authority, ip, port) in [
            ("10.0.0.1:8080", None, "10.0.0.1:8080", v4("10.0.0.1"), 8080),
            ("[::1]:8080", None, "[::1]:8080", v4("::1"), 8080),
            (
                "[::ffff:10.0.0.1]:1",
                None,
                "[::ffff:10.0.0.1]:1",
                v4("10.0.0.1"),
                1,
            ),
            (
                "hello_1.a-b.local.:80",
                None,
                "hello_1.a-b.local.:80",
                None,
                80,
            ),
            ("7.example:80", None, "7.example:80", None, 80),
            ("HTTP://h/a?b=%20c#d", Some("HTTP"), "h", None, 80),
            ("https://hello/0.0.0.0:0", Some("https"), "hello", None, 443),
            ("grpc://h:1", Some("grpc"), "h:1", None, 1),
            ("x-y.z+1://h:1", Some("x-y.z+1"), "h:1", None, 1),
        ] {
            let expected = Address {
                scheme,
                authority,
                ip,
                port,
            };
            assert_eq!(Address::parse(address), Ok(expected), "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), odd in r"[\[\]:/@0*.%]{0,12}") {
            let _ = (Address::parse(&text), Address::parse(&odd));
        }
    }
}
