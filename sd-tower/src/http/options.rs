//! The options of HTTP clients.

use super::upgrade::UpgradableConnector;
use crate::{call::RequestBody, connection::HttpVersions};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use std::time::Duration;

/// How requests are sent to endpoints, and how connections are kept.
///
/// ```
/// use sd_tower::{HttpOptions, HttpVersions};
/// use std::time::Duration;
///
/// let options = HttpOptions::new()
///     .versions(HttpVersions::Http2)
///     .idle_timeout(Duration::from_secs(30));
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct HttpOptions {
    pub(super) versions: HttpVersions,
    pub(super) address_as_host: bool,
    idle_timeout: Option<Duration>,
    max_idle: usize,
    keep_alive: Option<(Duration, Duration)>,
}

impl HttpOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            versions: HttpVersions::Negotiated,
            address_as_host: false,
            idle_timeout: Some(Duration::from_secs(90)),
            max_idle: usize::MAX,
            keep_alive: None,
        }
    }

    /// The versions of HTTP. Default: negotiated, which is HTTP/1.1 without TLS.
    #[must_use]
    pub fn versions(mut self, versions: HttpVersions) -> Self {
        self.versions = versions;
        self
    }

    /// Whether requests carry the address of the endpoint as their `Host` or `:authority`, instead
    /// of what their URI says. For servers that choose by it what they serve, and know themselves
    /// by their address. With TLS, the name expected from the server follows it. Default: no.
    #[must_use]
    pub fn address_as_host(mut self, yes: bool) -> Self {
        self.address_as_host = yes;
        self
    }

    /// How long a connection is kept without a request. Default: 90 s. `None`: for ever.
    ///
    /// Less than the servers' own limit avoids that they close a connection while a request is on
    /// its way, which costs a retry.
    #[must_use]
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = limit.into();
        self
    }

    /// How many connections without a request are kept to an endpoint, for each host of URIs.
    /// Default: all. With 0, each request has a connection of its own.
    #[must_use]
    pub fn max_idle_connections(mut self, most: usize) -> Self {
        self.max_idle = most;
        self
    }

    /// With HTTP/2: asks for a sign of life (PING) when the server has been silent for `interval`
    /// while requests are under way, and gives up the connection if there is none within `timeout`.
    /// Default: never.
    ///
    /// A host that has gone is noticed without, by
    /// [TCP](crate::ConnectOptions::tcp_user_timeout). A process that hangs is not. gRPC servers with
    /// their default options end connections on which they are asked more often than every five
    /// minutes.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keep_alive = Some((interval, timeout));
        self
    }

    pub(super) fn client(
        &self,
        connector: UpgradableConnector,
    ) -> Client<UpgradableConnector, RequestBody> {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.idle_timeout)
            .pool_max_idle_per_host(self.max_idle)
            .http2_only(self.versions == HttpVersions::Http2)
            // Another endpoint may do better.
            .retry_canceled_requests(false);
        if let Some((interval, timeout)) = self.keep_alive {
            builder
                .http2_keep_alive_interval(interval)
                .http2_keep_alive_timeout(timeout);
        }
        builder.build(connector)
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self::new()
    }
}
