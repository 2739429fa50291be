//! The options of a client.

#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{endpoint, namespace::Namespace};
use crate::errors::invalid_config;
use etcd_client::ConnectOptions;
use sd_core::Result;
use std::time::Duration;

/// The largest answer that is read when several entries are asked for. A larger one takes so long
/// on a slow network that the member looks frozen.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The options of a client. [`check`](Self::check) completes them before they are used.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) endpoints: Vec<String>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    pub(crate) user: Option<(String, String)>,
    pub(crate) namespace: Namespace,
    pub(crate) dial_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) deregister_timeout: Duration,
    pub(crate) probe_interval: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) page_size: i64,
    pub(crate) max_request_bytes: usize,
    pub(crate) max_message_bytes: usize,
    /// For `etcd-client`, made by [`check`](Self::check).
    pub(crate) connect: ConnectOptions,
    /// The same without the user, for an etcd without authentication.
    pub(crate) connect_anonymous: ConnectOptions,
}

impl Options {
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            #[cfg(feature = "tls")]
            tls: None,
            user: None,
            namespace: Namespace::default(),
            dial_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(4),
            deregister_timeout: Duration::from_secs(3),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(3),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            page_size: 1000,
            max_request_bytes: 3 * 512 * 1024,
            max_message_bytes: 64 * 1024 * 1024,
            connect: ConnectOptions::new(),
            connect_anonymous: ConnectOptions::new(),
        }
    }

    /// Checks the options and completes them. Sends nothing.
    ///
    /// # Errors
    /// [`Invalid::Config`](sd_core::Invalid::Config), as
    /// [`EtcdClientBuilder::build`](crate::EtcdClientBuilder::build) documents it.
    pub(crate) fn check(mut self) -> Result<Self> {
        let encrypted = self.is_encrypted();
        if self.endpoints.is_empty() {
            return Err(invalid_config("at least one endpoint is needed"));
        }
        for endpoint in &mut self.endpoints {
            *endpoint = endpoint::checked(endpoint, encrypted)?;
        }
        if self.ping_interval < Duration::from_secs(5) {
            return Err(invalid_config(
                "etcd closes connections that ping more than once in 5 s",
            ));
        }
        if self.page_size < 1 {
            return Err(invalid_config("a page has at least one entry"));
        }
        let timeouts = [
            self.dial_timeout,
            self.request_timeout,
            self.deregister_timeout,
            self.probe_interval,
            self.probe_timeout,
        ];
        if timeouts.contains(&Duration::ZERO) {
            return Err(invalid_config("a timeout of zero never succeeds"));
        }
        self.connect = ConnectOptions::new()
            .with_connect_timeout(self.dial_timeout)
            .with_keep_alive(self.ping_interval, self.ping_timeout)
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(self.ping_interval)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        #[cfg(feature = "tls")]
        if encrypted {
            let tls = self.tls.clone().unwrap_or_default();
            self.connect = self.connect.with_tls(tls.checked(&self.endpoints[0])?);
        }
        self.connect_anonymous = self.connect.clone();
        if let Some((name, password)) = &self.user {
            self.connect = self.connect.with_user(name, password);
        }
        Ok(self)
    }

    fn is_encrypted(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return true;
        }
        let mut endpoints = self.endpoints.iter();
        endpoints.any(|endpoint| endpoint.starts_with("https://"))
    }

    /// Returns the timeout of a request that a deregistration waits for. It is short enough for a
    /// second attempt at another member within the deregister timeout.
    pub(crate) fn short_timeout(&self) -> Duration {
        self.request_timeout.min(self.deregister_timeout / 2)
    }

    /// Returns the largest answer, in bytes, that is read when `entries` entries are asked for.
    pub(crate) fn answer_limit(&self, entries: usize) -> usize {
        match entries {
            1 => self.max_message_bytes,
            _ => self.max_message_bytes.min(MAX_PAGE_BYTES),
        }
    }
}

#[cfg(test)]
impl Options {
    /// The defaults, for an etcd that is never asked.
    pub(crate) fn unchecked() -> Self {
        Self::new(vec!["http://127.0.0.1:1".into()])
    }
}
