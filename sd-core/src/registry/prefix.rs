//! Prefixes: which keys to list and watch.

use super::{error::Invalid, escaped::Escaped, key::Key};
use std::{fmt, sync::Arc};

/// The beginning of all keys to list or watch.
///
/// A prefix ends at a path boundary, so `/services/foo` does not match `/services/foobar`.
/// [`Prefix::raw`] is for layouts without separators.
///
/// ```
/// use sd_core::{Key, Prefix};
///
/// let foo = Prefix::new("/services/foo")?;
/// assert_eq!(foo.as_str(), "/services/foo/");
/// assert!(foo.matches("/services/foo/10.0.0.1:80"));
/// assert!(!foo.matches("/services/foobar/10.0.0.1:80"));
///
/// let raw = Prefix::raw("Hello")?;
/// assert!(raw.matches("Hello7587849142468224212"));
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// All keys below the path `path`. Adds a `/` if `path` does not end in one.
    ///
    /// # Errors
    /// [`Invalid::EmptyPrefix`] if `path` is empty.
    pub fn new(path: impl AsRef<str>) -> Result<Self, Invalid> {
        match path.as_ref() {
            "" => Err(Invalid::EmptyPrefix),
            path if path.ends_with('/') => Ok(Self(path.into())),
            path => Ok(Self(format!("{path}/").into())),
        }
    }

    /// All keys that begin with exactly `text`, even if it ends in the middle of a name.
    ///
    /// # Errors
    /// [`Invalid::EmptyPrefix`] if `text` is empty.
    pub fn raw(text: impl AsRef<str>) -> Result<Self, Invalid> {
        match text.as_ref() {
            "" => Err(Invalid::EmptyPrefix),
            text => Ok(Self(text.into())),
        }
    }

    /// The prefix of what is called `name` below this one, for a name that comes from outside: that of a
    /// service in a URL, or in a request.
    ///
    /// ```
    /// use sd_core::Prefix;
    ///
    /// let services = Prefix::new("/services")?;
    /// assert_eq!(services.child("hello")?.as_str(), "/services/hello/");
    /// for name in ["", "..", "hello/../admin", "hello\n"] {
    ///     assert!(services.child(name).is_err());
    /// }
    /// # Ok::<(), sd_core::Invalid>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid::Name`] if `name` is empty, `.` or `..`, longer than 256 characters, or has a `/` or a
    /// character that is not seen.
    pub fn child(&self, name: impl AsRef<str>) -> Result<Self, Invalid> {
        let name = name.as_ref();
        let shown = Escaped(name).to_string();
        let is_name = !matches!(name, "" | "." | "..") && !name.contains('/') && shown == name;
        if !is_name {
            return Err(Invalid::Name { name: shown });
        }
        let boundary = if self.0.ends_with('/') { "" } else { "/" };
        Self::new(format!("{self}{boundary}{name}"))
    }

    /// The text that all matching keys begin with.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of the entry called `name` under this prefix: `name` appended to the prefix as it
    /// is.
    ///
    /// ```
    /// use sd_core::Prefix;
    ///
    /// let hello = Prefix::new("/services/hello")?;
    /// let key = hello.key("10.0.0.1:80")?;
    /// assert_eq!(key.as_str(), "/services/hello/10.0.0.1:80");
    /// assert_eq!(hello.strip(&key), Some("10.0.0.1:80"));
    /// # Ok::<(), sd_core::Invalid>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid::EmptyKey`] if `name` is empty.
    pub fn key(&self, name: impl AsRef<str>) -> Result<Key, Invalid> {
        match name.as_ref() {
            "" => Err(Invalid::EmptyKey),
            name => Key::new(format!("{self}{name}")),
        }
    }

    /// Whether `key` lies under this prefix.
    pub fn matches(&self, key: impl AsRef<str>) -> bool {
        key.as_ref().starts_with(&*self.0)
    }

    /// The rest of `key` after the prefix. `None` if the key is not under the prefix.
    pub fn strip<'k>(&self, key: &'k Key) -> Option<&'k str> {
        key.as_str().strip_prefix(&*self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<&str> for Prefix {
    type Error = Invalid;
    fn try_from(path: &str) -> Result<Self, Invalid> {
        Self::new(path)
    }
}

impl TryFrom<String> for Prefix {
    type Error = Invalid;
    fn try_from(path: String) -> Result<Self, Invalid> {
        Self::new(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::cases;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_ends_at_a_path_boundary() {
        let prefix = Prefix::new("/svc/foo").unwrap();
        assert!(prefix.matches("/svc/foo/a"));
        assert!(!prefix.matches("/svc/foobar"));
        assert!(!prefix.matches("/svc/foo"));
        assert_eq!(Prefix::new("/svc/foo/").unwrap(), prefix);
    }

    #[test]
    fn a_raw_prefix_ends_anywhere() {
        let prefix = Prefix::raw("/svc/foo").unwrap();
        assert!(prefix.matches("/svc/foobar"));
        assert!(prefix.matches("/svc/foo"));
    }

    /// Hostile row 12: a name from outside leads to no other service.
    #[test]
    fn a_name_with_separators_or_hidden_characters_is_none() {
        let services = Prefix::new("/services").unwrap();
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "/",
            "a/../b",
            "x\0y",
            "a\n",
            "\u{202e}a",
            &"x".repeat(257),
        ] {
            let refused = services.child(name);
            assert!(matches!(refused, Err(Invalid::Name { .. })), "{name:?}");
        }
        for name in ["hello", "h.e-l_l:o", "...", "größe"] {
            let prefix = services.child(name).unwrap();
            assert_eq!(prefix.as_str(), format!("/services/{name}/"));
        }
        let raw = Prefix::raw("Hello").unwrap();
        assert_eq!(raw.child("a").unwrap().as_str(), "Hello/a/");
    }

    #[test]
    fn an_empty_prefix_is_refused() {
        assert_eq!(Prefix::new(""), Err(Invalid::EmptyPrefix));
        assert_eq!(Prefix::raw(""), Err(Invalid::EmptyPrefix));
    }

    proptest! {
        #![proptest_config(cases(1))]

        #[test]
        fn whatever_lies_under_a_prefix_is_the_prefix_and_more(path in ".{0,8}", rest in "[/a-é]{0,8}") {
            let (whole, raw) = (Prefix::new(&path), Prefix::raw(&path));
            if path.is_empty() {
                prop_assert!(whole.is_err() && raw.is_err());
                return Ok(());
            }
            let key = Key::new(format!("{path}{rest}")).unwrap();
            let joined = raw.clone().unwrap().key(&rest).ok();
            prop_assert_eq!(joined, (!rest.is_empty()).then(|| key.clone()));
            let is_below = path.ends_with('/') || rest.starts_with('/');
            for (prefix, is_under) in [(whole.unwrap(), is_below), (raw.unwrap(), true)] {
                prop_assert_eq!(prefix.matches(&key), is_under);
                let stripped = prefix.strip(&key).map(|rest| format!("{prefix}{rest}"));
                prop_assert_eq!(stripped, is_under.then(|| key.to_string()));
            }
        }
    }
}
