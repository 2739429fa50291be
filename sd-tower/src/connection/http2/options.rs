//! Options of HTTP/2 connections.

use http::uri::Authority;
use std::time::Duration;

/// How an HTTP/2 [`Connection`](crate::Connection) is kept, and what it says of itself.
///
/// The windows of flow control are hyper's: 2 MiB for a stream, 5 MiB for a connection.
///
/// ```
/// use sd_tower::Http2Options;
/// use std::time::Duration;
///
/// let options = Http2Options::new()
///     .keep_alive_interval(Duration::from_secs(60))
///     .authority("hello.internal".parse()?);
/// # let _ = options;
/// # Ok::<(), http::uri::InvalidUri>(())
/// ```
#[derive(Debug, Clone)]
pub struct Http2Options {
    pub(super) keep_alive_interval: Option<Duration>,
    pub(super) keep_alive_timeout: Duration,
    pub(in super::super) authority: Option<Authority>,
}

impl Http2Options {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            keep_alive_interval: Some(Duration::from_secs(20)),
            keep_alive_timeout: Duration::from_secs(10),
            authority: None,
        }
    }

    /// How long the server may be silent while calls are under way, until it is asked for a sign of
    /// life (PING). Default: 20 s. `None`: never.
    ///
    /// Nothing is sent while there are no calls, so that thousands of idle connections cost
    /// nothing.
    ///
    /// gRPC servers with their default options accept one ping in five minutes on a stream without
    /// messages, and end the connection (GOAWAY with ENHANCE_YOUR_CALM) of a client that sends
    /// several in less. When a connection ends so, the interval for this address becomes
    /// 310 s, or twice what it was, whichever is longer.
    ///
    /// Source: gRPC's proposals [A8] and [A9].
    ///
    /// [A8]: https://github.com/grpc/proposal/blob/master/A8-client-side-keepalive.md
    /// [A9]: https://github.com/grpc/proposal/blob/master/A9-server-side-conn-mgt.md
    #[must_use]
    pub fn keep_alive_interval(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.keep_alive_interval = silence.into();
        self
    }

    /// How long the server may take to answer the question. Then the connection is given up, and its
    /// calls fail. Default: 10 s.
    #[must_use]
    pub fn keep_alive_timeout(mut self, limit: Duration) -> Self {
        self.keep_alive_timeout = limit;
        self
    }

    /// The `:authority` of requests that have none. Default: the address. A server may choose by it
    /// what it serves. It does not change the name that TLS expects.
    #[must_use]
    pub fn authority(mut self, authority: Authority) -> Self {
        self.authority = Some(authority);
        self
    }
}

impl Default for Http2Options {
    fn default() -> Self {
        Self::new()
    }
}
