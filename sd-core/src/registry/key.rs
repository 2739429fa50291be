//! Keys: the names of entries in the registry.

use super::{error::Invalid, lease::LeaseId};
use std::{borrow::Borrow, fmt, sync::Arc};

/// The key of an entry: non-empty text. Cheap to clone.
///
/// `Display` writes the text as it is, whoever chose it; [`Escaped`](crate::Escaped) is for a log.
///
/// ```
/// use sd_core::Key;
///
/// let key = Key::new("/services/hello/10.0.0.1:8080")?;
/// assert_eq!(key.as_str(), "/services/hello/10.0.0.1:8080");
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// A key with exactly this text.
    ///
    /// # Errors
    /// [`Invalid::EmptyKey`] if the text is empty.
    pub fn new(key: impl AsRef<str>) -> Result<Self, Invalid> {
        match key.as_ref() {
            "" => Err(Invalid::EmptyKey),
            key => Ok(Self(key.into())),
        }
    }

    /// The key of a service that ends in the id of its lease. `Key::lease_suffixed("Hello")`
    /// becomes `Hello7587849142468224212` on lease 7587849142468224212, and another key on another
    /// lease.
    ///
    /// # Errors
    /// [`Invalid::EmptyKey`] if `stem` is empty.
    pub fn lease_suffixed(stem: impl AsRef<str>) -> Result<ServiceKey, Invalid> {
        Self::new(stem).map(ServiceKey::LeaseSuffixed)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub(crate) fn into_text(self) -> Arc<str> {
        self.0
    }

    /// Stands for a key that is not chosen yet.
    pub(crate) fn to_be_chosen() -> Self {
        Self("?".into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Key {
    type Error = Invalid;
    fn try_from(key: &str) -> Result<Self, Invalid> {
        Self::new(key)
    }
}

impl TryFrom<String> for Key {
    type Error = Invalid;
    fn try_from(key: String) -> Result<Self, Invalid> {
        Self::new(key)
    }
}

/// The key of a [`Service`](crate::Service): a fixed key, or one that ends in the id of the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServiceKey {
    /// This key, whatever the lease is.
    Fixed(Key),
    /// This stem followed by the id of the lease; see [`Key::lease_suffixed`].
    LeaseSuffixed(Key),
}

impl ServiceKey {
    /// The key of the entry while the service is on `lease`.
    pub fn under(&self, lease: &LeaseId) -> Key {
        match self {
            Self::Fixed(key) => key.clone(),
            Self::LeaseSuffixed(stem) => Key(format!("{stem}{lease}").into()),
        }
    }

    /// The key of the entry, if it does not depend on the lease.
    pub fn fixed(&self) -> Option<&Key> {
        match self {
            Self::Fixed(key) => Some(key),
            Self::LeaseSuffixed(_) => None,
        }
    }

    /// The part that does not depend on the lease.
    pub fn stem(&self) -> &Key {
        match self {
            Self::Fixed(key) | Self::LeaseSuffixed(key) => key,
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(key) => key.fmt(f),
            Self::LeaseSuffixed(stem) => write!(f, "{stem}<lease>"),
        }
    }
}

impl From<Key> for ServiceKey {
    fn from(key: Key) -> Self {
        Self::Fixed(key)
    }
}

impl TryFrom<&str> for ServiceKey {
    type Error = Invalid;
    fn try_from(key: &str) -> Result<Self, Invalid> {
        Key::new(key).map(Self::Fixed)
    }
}

impl TryFrom<String> for ServiceKey {
    type Error = Invalid;
    fn try_from(key: String) -> Result<Self, Invalid> {
        Key::new(key).map(Self::Fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::service::Service, support::cases};
    use proptest::prelude::*;

    #[test]
    fn an_empty_key_is_refused() {
        assert_eq!(Key::new(""), Err(Invalid::EmptyKey));
        assert_eq!(Key::lease_suffixed(""), Err(Invalid::EmptyKey));
    }

    #[test]
    fn a_lease_suffixed_key_follows_its_lease() {
        let key = Key::lease_suffixed("Hello").unwrap();
        assert_eq!(
            key.under(&LeaseId::new("7587849142468224212")).as_str(),
            "Hello7587849142468224212"
        );
        assert_eq!(key.under(&LeaseId::new("5")).as_str(), "Hello5");
    }

    proptest! {
        #![proptest_config(cases(1))]

        #[test]
        fn any_text_but_none_is_a_key(text in ".{0,8}", lease in any::<i64>()) {
            let is_key = !text.is_empty();
            let key = Key::new(&text).ok().map(|key| key.to_string());
            prop_assert_eq!(key, is_key.then(|| text.clone()));
            let service = Service::new(text.as_str(), "h:1").ok();
            let stem = service.map(|service| service.key.stem().to_string());
            prop_assert_eq!(stem, is_key.then(|| text.clone()));
            let suffixed = Key::lease_suffixed(&text).ok();
            let under = suffixed.map(|key| key.under(&LeaseId::from(lease)).to_string());
            prop_assert_eq!(under, is_key.then(|| format!("{text}{lease}")));
        }
    }
}
