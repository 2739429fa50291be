//! The namespace of a client.

use sd_core::{Escaped, Invalid};

/// A prefix of every key that a client reads and writes. Users of the client never see it.
#[derive(Clone, Default)]
pub(crate) struct Namespace(Vec<u8>);

impl Namespace {
    pub(crate) fn new(prefix: impl Into<Vec<u8>>) -> Self {
        Self(prefix.into())
    }

    /// Refuses a key or prefix that the namespace and it do not part from each other: `uction/a` in
    /// `/prod` is `/production/a`, and so in another namespace.
    pub(crate) fn check(&self, key: &str) -> Result<(), Invalid> {
        if self.0.is_empty() || self.0.ends_with(b"/") || key.starts_with('/') {
            return Ok(());
        }
        Err(Invalid::Config(format!(
            "{} is not below the namespace {}: begin it with a slash, or end the namespace in one",
            Escaped(key),
            Escaped(String::from_utf8_lossy(&self.0)),
        )))
    }

    /// Returns the key as etcd knows it.
    pub(crate) fn full(&self, key: &str) -> Vec<u8> {
        [&self.0, key.as_bytes()].concat()
    }

    /// Returns the key as the user knows it, or `None` if it is not UTF-8 or not in the namespace.
    pub(crate) fn strip<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        std::str::from_utf8(key.strip_prefix(&*self.0)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hostile row 12: a namespace ends at a boundary.
    #[test]
    fn no_key_reaches_into_a_namespace_whose_name_begins_alike() {
        for (namespace, key, is_fine) in [
            ("/prod", "/svc/a", true),
            ("/prod", "uction/svc/a", false),
            ("/prod", "Hello", false),
            ("/prod/", "uction/svc/a", true),
            ("", "Hello", true),
        ] {
            let checked = Namespace::new(namespace).check(key);
            assert_eq!(checked.is_ok(), is_fine, "{namespace} {key}");
        }
    }

    #[test]
    fn a_namespace_is_put_before_and_taken_off() {
        let namespace = Namespace::new("/prod");
        assert_eq!(namespace.full("/svc"), b"/prod/svc");
        assert_eq!(namespace.strip(b"/prod/svc"), Some("/svc"));
        assert_eq!(namespace.strip(b"/test/svc"), None);
        assert_eq!(namespace.strip(b"/prod\xff"), None);
    }
}
