//! Names of services, and where their keys begin.

use sd_core::{Advert, Bytes, CodecError, Entry, Invalid, Key, Prefix, Service, ServiceKey, Ttl};

/// What is below the path `root`, or at the top without one, and called `name`: one segment of a path.
pub(crate) fn below(root: Option<&Prefix>, name: &str) -> Result<Prefix, Invalid> {
    match root {
        Some(root) => root.child(name),
        None => {
            check(name)?;
            Prefix::new(name)
        }
    }
}

/// Refuses what is no segment of a path.
pub(crate) fn check(name: &str) -> Result<(), Invalid> {
    Prefix::new("/")?.child(name).map(drop)
}

/// The service that has `value` under `key`, and the time to live that was asked for, or `ttl` seconds.
pub(crate) fn service(
    key: impl Into<ServiceKey>,
    value: Bytes,
    advert: &Advert,
    ttl: u64,
) -> Result<Service, CodecError> {
    let ttl = match advert.said_ttl() {
        Some(ttl) => ttl,
        None => Ttl::from_secs(ttl)?,
    };
    Ok(Service::new(key.into(), value)?.with_ttl(ttl))
}

/// The key called `name` below `prefix`.
///
/// # Errors
/// [`CodecError`] if `name`, which an instance is to be called by, is no segment of a path.
pub(crate) fn key(prefix: &Prefix, name: &str) -> Result<Key, CodecError> {
    check(name)?;
    Ok(prefix.key(name)?)
}

/// The rest of the key of `entry` below `root`, or all of it if there is none.
pub(crate) fn rest<'e>(root: Option<&Prefix>, entry: &'e Entry) -> Option<&'e str> {
    match root {
        Some(root) => root.strip(&entry.key),
        None => Some(entry.key.as_str()),
    }
}

/// The service of keys such as `ROOT/NAME/INSTANCE`, with nothing below an instance.
pub(crate) fn of_one_level(root: Option<&Prefix>, entry: &Entry) -> Option<String> {
    of_every_depth(root, entry, false)
}

/// The service of keys such as `ROOT/NAME/INSTANCE`, or `ROOT/NAME/ZONE/INSTANCE` if they may be at every depth.
pub(crate) fn of_every_depth(
    root: Option<&Prefix>,
    entry: &Entry,
    has_every_depth: bool,
) -> Option<String> {
    let (service, instance) = rest(root, entry)?.split_once('/')?;
    let is_instance = !instance.is_empty() && (has_every_depth || !instance.contains('/'));
    (is_instance && check(service).is_ok()).then(|| service.to_owned())
}
