//! Addresses that nobody can call.

use std::net::{IpAddr, Ipv6Addr};

/// Why nobody can call `address`, and what to write instead; `None` if it may be callable.
///
/// Judges `host:port` and URLs. Anything else may be an address of a format of its own.
pub(crate) fn why_uncallable(address: &str) -> Option<&'static str> {
    let (authority, is_url) = match address.split_once("://") {
        Some((_, rest)) => (rest.split(['/', '?', '#']).next().unwrap_or_default(), true),
        None => (address, false),
    };
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if is_url && authority.is_empty() {
        // Such as `unix:///run/hello.sock`.
        return None;
    }
    if is_bare_ipv6(authority) {
        return Some("write an IPv6 address in brackets, with a port: `[2001:db8::1]:8080`");
    }
    let (host, port) = split_port(authority);
    if host.is_empty() {
        return Some("it has no host; write the one under which consumers reach it");
    }
    let ip = host.parse::<IpAddr>().ok();
    if host == "*" || ip.is_some_and(|ip| ip.to_canonical().is_unspecified()) {
        return Some(
            "that is every address of this host, to listen on; write the one under which consumers reach it",
        );
    }
    match port.map(str::parse::<u16>) {
        Some(Ok(0)) => Some("port 0 means any free port; write the one that the listener got"),
        Some(Err(_)) if port == Some("") => Some("the port is missing after the colon"),
        None if ip.is_some() && !is_url => Some("it has no port; write `host:port`"),
        _ => None,
    }
}

/// The host, without brackets, and what follows its colon.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return (host, rest.strip_prefix(':'));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

/// Whether `authority` is an IPv6 address without brackets, with or without a port.
fn is_bare_ipv6(authority: &str) -> bool {
    let is_ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    is_ipv6(authority)
        || authority
            .rsplit_once(':')
            .is_some_and(|(host, _)| is_ipv6(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_to_listen_on_missing_parts_and_bare_ipv6_cannot_be_called() {
        for (address, part) in [
            (":8080", "no host"),
            ("[]:8080", "no host"),
            ("http://:8080/", "no host"),
            ("0.0.0.0:8080", "every address"),
            ("[::]:8080", "every address"),
            ("[::ffff:0.0.0.0]:8080", "every address"),
            ("*:8080", "every address"),
            ("http://0.0.0.0/path", "every address"),
            ("http://user@[::]:80/path", "every address"),
            ("10.0.0.1:0", "port 0"),
            ("hello.local:0", "port 0"),
            ("grpc://hello:0", "port 0"),
            ("10.0.0.1:", "missing after the colon"),
            ("10.0.0.1", "no port"),
            ("[::1]", "no port"),
            ("::1", "brackets"),
            ("::1:8080", "brackets"),
            ("2001:db8:0:0:0:0:0:1:8080", "brackets"),
        ] {
            let why = why_uncallable(address).unwrap_or_default();
            assert!(why.contains(part), "{address}: {why}");
        }
    }

    #[test]
    fn what_may_be_callable_is_not_judged() {
        for address in [
            "10.0.0.1:8080",
            "127.0.0.1:1",
            "[::1]:8080",
            "[fe80::1]:8080",
            "hello.local:80",
            "http://10.0.0.1:8080/path",
            "http://10.0.0.1",
            "https://hello/0.0.0.0:0",
            "unix:///run/hello.sock",
            "unix:/run/hello.sock",
            "dns:hello:80",
            "node-7",
            "hello.local",
            "h:70000",
        ] {
            assert_eq!(why_uncallable(address), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), odd in r"[\[\]:/@0*.]{0,12}") {
            why_uncallable(&text);
            why_uncallable(&odd);
        }
    }
}
