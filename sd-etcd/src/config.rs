//! What a client knows of its etcd.

use sd_core::{Error, Invalid};
use std::time::Duration;

/// The checked options.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) endpoints: Vec<String>,
    pub(crate) connect: etcd_client::ConnectOptions,
    /// The same without the user, for an etcd that has none.
    pub(crate) anonymous: etcd_client::ConnectOptions,
    pub(crate) user: Option<(String, String)>,
    pub(crate) namespace: Namespace,
    pub(crate) dial_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) deregister_timeout: Duration,
    pub(crate) probe_interval: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) ping: (Duration, Duration),
    pub(crate) page: i64,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_message_bytes: usize,
}

impl Config {
    /// How long to wait for an answer where a deregistration waits: so that another member can still
    /// be asked within its bound.
    pub(crate) fn brief(&self) -> Duration {
        self.request_timeout.min(self.deregister_timeout / 2)
    }
}

/// What stands before every key of a client, unseen by its users.
#[derive(Clone, Default)]
pub(crate) struct Namespace(Vec<u8>);

impl Namespace {
    pub(crate) fn new(start: impl Into<Vec<u8>>) -> Self {
        Self(start.into())
    }

    /// The key as etcd knows it.
    pub(crate) fn full(&self, key: &str) -> Vec<u8> {
        [&self.0, key.as_bytes()].concat()
    }

    /// The key as the user knows it; `None` if it is not UTF-8, or not below the namespace.
    pub(crate) fn strip<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        std::str::from_utf8(key.strip_prefix(&*self.0)?).ok()
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Invalid::Config(message.into()).into()
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
