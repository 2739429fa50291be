//! Authorities: the addresses of a registry.

use super::{
    error::TargetProblem,
    text::{Located, Part},
};
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// The address of a member of a registry: a host, and a port unless it is the scheme's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority {
    /// A name, an IPv4 address, or an IPv6 address without brackets; all in small letters.
    host: Box<str>,
    port: Option<u16>,
}

impl Authority {
    /// The host: a name in small letters, or an address. An IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if it was given. Not 0.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// `host:port`, with `default` if no port was given. An IPv6 address is in brackets.
    pub fn or_port(&self, default: u16) -> String {
        let port = Some(self.port.unwrap_or(default));
        let host = self.host.clone();
        Self { host, port }.to_string()
    }

    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub(super) fn parse(part: Part<'_>) -> Result<Self, Located> {
        let (host, port) = if part.text.starts_with('[') {
            let (address, rest) = part.split_once("]");
            let port = rest.map(|rest| rest.split_once(":"));
            let address = address.split_once("[").1.unwrap_or(address);
            match (address.text.parse::<Ipv6Addr>(), port) {
                (Ok(host), Some((between, port))) if between.text.is_empty() => {
                    (host.to_string(), port)
                }
                _ => return Err(part.is(TargetProblem::Ipv6)),
            }
        } else if part.text.matches(':').count() > 1 {
            return Err(part.is(TargetProblem::Brackets));
        } else {
            let (host, port) = part.split_once(":");
            (host_name(host)?, port)
        };
        Ok(Self {
            host: host.into(),
            port: port.map(port_number).transpose()?,
        })
    }
}

/// A name or an IPv4 address, in small letters.
fn host_name(part: Part<'_>) -> Result<String, Located> {
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        (1..=63).contains(&label.len())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = part.text.strip_suffix('.').unwrap_or(part.text);
    let is_name = name.len() <= 253 && name.split('.').all(is_label);
    // A name that ends in a number would be an IPv4 address, as in the URL Standard.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    match part.text {
        "" => Err(part.is(TargetProblem::NoHost)),
        _ if !is_name => Err(part.is(TargetProblem::Host)),
        text if is_numeric && text.parse::<Ipv4Addr>().is_err() => {
            Err(part.is(TargetProblem::Ipv4))
        }
        text => Ok(text.to_ascii_lowercase()),
    }
}

fn port_number(part: Part<'_>) -> Result<u16, Located> {
    let port = part.text;
    if port.is_empty() {
        return Err(part.is(TargetProblem::NoPort));
    }
    // `parse` would take a `+`, too.
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|port| is_number && *port > 0);
    number.ok_or_else(|| part.is(TargetProblem::Port { port: port.into() }))
}

/// `host`, or `host:port`. An IPv6 address is in brackets.
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}
