//! Identities: what tells one instance from another.

use crate::registry::Key;
use std::{borrow::Borrow, fmt, sync::Arc};

/// Stands between the key and the part. No key of an instance has it.
const SEPARATOR: &str = "\0";

/// What tells an instance from all others of its registry: the key of its entry, and its part of the
/// entry if that describes several instances. Cheap to clone.
///
/// ```
/// use sd_core::{Instance, InstanceKey, Key};
///
/// let key = Key::new("/micro/registry/hello/7")?;
/// let whole = Instance::new(key.clone(), "10.0.0.1:80");
/// assert_eq!(whole.identity(), InstanceKey::from(key.clone()));
///
/// let node = whole.with_part("hello-1");
/// assert_eq!(node.identity(), InstanceKey::with_part(&key, "hello-1"));
/// assert_eq!((node.identity().key(), node.identity().part()), (key.as_str(), Some("hello-1")));
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey(Arc<str>);

impl InstanceKey {
    /// The instance that is the part `part` of the entry under `key`.
    pub fn with_part(key: &Key, part: &str) -> Self {
        Self([key.as_str(), SEPARATOR, part].concat().into())
    }

    /// The key of the entry.
    pub fn key(&self) -> &str {
        self.split().0
    }

    /// The part of the entry. `None` if the whole entry is the instance.
    pub fn part(&self) -> Option<&str> {
        self.split().1
    }

    fn split(&self) -> (&str, Option<&str>) {
        match self.0.split_once(SEPARATOR) {
            Some((key, part)) => (key, Some(part)),
            None => (&self.0, None),
        }
    }

    /// Whether an instance can be told from the parts of other entries if it has `key`.
    pub(crate) fn is_clear(key: &Key) -> bool {
        !key.as_str().contains(SEPARATOR)
    }

    /// What the parts of the entry under `key` lie between.
    pub(super) fn range_of_parts(key: &str) -> (String, String) {
        (format!("{key}{SEPARATOR}"), format!("{key}\u{1}"))
    }
}

impl From<Key> for InstanceKey {
    fn from(key: Key) -> Self {
        Self(key.into_text())
    }
}

/// The text by which sets find it: that of the key, where the whole entry is the instance.
impl Borrow<str> for InstanceKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for InstanceKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<Key> for InstanceKey {
    fn eq(&self, key: &Key) -> bool {
        *self.0 == *key.as_str()
    }
}

/// The key, and `#` with the part if there is one. For people: `#` may be part of a key.
impl fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.split() {
            (key, None) => f.write_str(key),
            (key, Some(part)) => write!(f, "{key}#{part}"),
        }
    }
}

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_right_after_their_key_and_before_any_other() {
        let key = Key::new("/svc/a").unwrap();
        let (from, to) = InstanceKey::range_of_parts(key.as_str());
        let is_within = |identity: &InstanceKey| *from <= *identity.0 && *identity.0 < *to;
        for part in ["", "n", "\u{10ffff}", "a\0b"] {
            let identity = InstanceKey::with_part(&key, part);
            assert!(is_within(&identity), "{part:?}");
            assert_eq!((identity.key(), identity.part()), ("/svc/a", Some(part)));
        }
        for other in ["/svc/a", "/svc/a/n", "/svc/a\u{1}", "/svc/b", "/svc/ "] {
            let identity = InstanceKey::from(Key::new(other).unwrap());
            assert!(!is_within(&identity), "{other:?}");
            assert_eq!((identity.key(), identity.part()), (other, None));
        }
    }
}
