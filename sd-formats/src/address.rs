//! Addresses in the forms in which fleets write them.

use crate::ignored::Ignored;
use sd_core::{Address, CodecError, Invalid};
use std::{borrow::Cow, net::Ipv6Addr};

/// Reads `host:port`, with the host of IPv6 in brackets or without.
///
/// A URL is read as well, though Go programs that expect `host:port` cannot call it.
pub(crate) fn read<'a>(text: &'a str, ignored: &mut Ignored) -> Result<Cow<'a, str>, CodecError> {
    if let Ok(address) = Address::try_from(text) {
        if address.scheme().is_some() {
            ignored.note("address", "it is a URL, and only host:port is called");
        }
        return Ok(text.into());
    }
    let address = bracketed(text);
    Address::try_from(&*address).map_err(no_address)?;
    Ok(address)
}

/// `host:port` in the parts.
///
/// # Errors
/// [`CodecError::cannot_say`] if it is a URL.
pub(crate) fn host_and_port(text: &str) -> Result<Address<'_>, CodecError> {
    let address = Address::try_from(text).map_err(no_address)?;
    match address.scheme() {
        None => Ok(address),
        Some(_) => Err(CodecError::cannot_say("the scheme of an address")),
    }
}

/// `host` and `port` in one text.
pub(crate) fn joined(host: &str, port: u16) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// `text` with brackets around an address of IPv6 that has none. What follows the last colon is the port, which
/// providers always write.
fn bracketed(text: &str) -> Cow<'_, str> {
    match text.rsplit_once(':') {
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}").into(),
        _ => text.into(),
    }
}

pub(crate) fn no_address(why: Invalid) -> CodecError {
    CodecError::no_address(why)
}
