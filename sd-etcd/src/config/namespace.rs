//! The namespace of a client.

/// A prefix of every key that a client reads and writes. Users of the client never see it.
#[derive(Clone, Default)]
pub(crate) struct Namespace(Vec<u8>);

impl Namespace {
    pub(crate) fn new(prefix: impl Into<Vec<u8>>) -> Self {
        Self(prefix.into())
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

    #[test]
    fn a_namespace_is_put_before_and_taken_off() {
        let namespace = Namespace::new("/prod");
        assert_eq!(namespace.full("/svc"), b"/prod/svc");
        assert_eq!(namespace.strip(b"/prod/svc"), Some("/svc"));
        assert_eq!(namespace.strip(b"/test/svc"), None);
        assert_eq!(namespace.strip(b"/prod\xff"), None);
    }
}
