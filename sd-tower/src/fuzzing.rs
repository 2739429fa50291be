//! What decodes outside text, as functions of bytes: the fuzz targets and the property tests of
//! `tests/tests/fuzzing.rs` run them. Each panics if what it promises does not hold. They are no part of
//! the public API.
//!
//! | function | input | promise |
//! |---|---|---|
//! | `address` | an address that somebody registered | whoever connects reads it as the policy does |
//! | `retry_after` | the header of a server | a pause or none |
//! | `target` | a target string | an error with its place, or a target with one normal form |

use crate::{Target, http::retry_after::parse};
use http::{HeaderValue, uri::Authority};
use sd_core::{AddressPolicy, ErrorChain, Instance, Key, fuzzing::assert_is_line};
use std::{
    net::{IpAddr, Ipv6Addr},
    time::{Duration, SystemTime},
};

/// Policies check the address in `input`. What they allow is read as the same host by the parser of whoever
/// connects, and that host is allowed.
pub fn address(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);
    let key = Key::new("/services/hello/a").expect("it is not empty");
    let instance = Instance::new(key, text);
    let default = AddressPolicy::default();
    let near = default.clone().networks(["10.0.0.0/8", "fd00::/8"]);
    let near = near.expect("two networks");

    let is_near = near.check(&instance).is_ok();
    if let Err(error) = default.check(&instance) {
        assert_is_line(&ErrorChain(&error).to_string());
        assert!(!is_near, "{text:?} is near, and refused");
        return;
    }
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    assert!(!authority.contains('@'), "{text:?} has a user");
    let authority: Authority = authority.parse().expect("an authority");
    assert_ne!(authority.port_u16(), Some(0));
    if text.contains("://") {
        // A fragment is no part of a URI that is sent.
        let sent = text.split('#').next().unwrap_or_default();
        let uri: http::Uri = sent.parse().expect("a URI");
        assert_eq!(uri.authority(), Some(&authority), "{text:?}");
    } else {
        assert!(authority.port().is_some());
    }
    match ip(authority.host()) {
        Some(ip) => {
            let is_special = match ip {
                IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
                IpAddr::V6(ip) => ip.is_unicast_link_local(),
            };
            assert!(!is_special && !ip.is_unspecified() && !ip.is_multicast());
            let is_inside = match ip {
                IpAddr::V4(ip) => ip.octets()[0] == 10,
                IpAddr::V6(ip) => ip.octets()[0] == 0xfd,
            };
            assert_eq!(is_near, is_inside, "{text:?}");
        }
        None => {
            assert!(!is_near, "a name");
            assert!(!is_number(authority.host()), "{text:?} is a number");
        }
    }
}

fn ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    match bare {
        Some(bare) => bare
            .parse::<Ipv6Addr>()
            .ok()
            .map(|ip| IpAddr::from(ip).to_canonical()),
        None => host.parse().ok(),
    }
}

/// Whether a resolver may read `host` as an IPv4 address of another form.
fn is_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.split('.').all(|label| {
        let digits = label.to_ascii_lowercase();
        match digits.strip_prefix("0x") {
            Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => digits.bytes().all(|byte| byte.is_ascii_digit()),
        }
    })
}

/// The text in `input` is parsed as a target.
pub fn target(input: &[u8]) {
    let text = &*String::from_utf8_lossy(input);
    match text.parse::<Target>() {
        Ok(target) => {
            let normal = target.to_string();
            let again: Target = normal.parse().expect("the normal form");
            assert_eq!(again, target);
            assert_eq!(again.to_string(), normal);
            assert!(!normal.contains('@'), "{normal}");
            assert!(!normal.contains(char::is_control));
            let below = format!("{}/", target.service());
            let is_below = target.prefix().as_str().ends_with(&below);
            assert!(is_below || target.format().is_some(), "{normal}");
        }
        Err(error) => {
            assert!(text.get(error.span()).is_some(), "{:?}", error.span());
            assert_is_line(&error.to_string());
            let shown = format!("{error:#}");
            assert_eq!(shown.lines().count(), 3, "{shown}");
        }
    }
}

/// A server answers the header `Retry-After` in `input`.
pub fn retry_after(input: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(input) else {
        return;
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let pause = parse(&value, now);
    let text = value.to_str().unwrap_or_default().trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        assert!(pause.is_some(), "{text:?} is a number");
    }
}
