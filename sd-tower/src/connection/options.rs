//! Options of connecting.

#[cfg(feature = "tls")]
use super::tls::Tls;
use sd_core::Backoff;
use std::time::Duration;

/// How endpoints are connected to. The same for gRPC and HTTP.
///
/// ```
/// use sd_core::Backoff;
/// use sd_tower::ConnectOptions;
/// use std::time::Duration;
///
/// let far_away = ConnectOptions::new()
///     .timeout(Duration::from_secs(3))
///     .backoff(Backoff::new(Duration::from_secs(1), Duration::from_secs(60)));
/// # let _ = far_away;
/// ```
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub(super) timeout: Duration,
    pub(super) backoff: Backoff,
    pub(super) tcp_keep_alive: Option<Duration>,
    pub(super) tcp_user_timeout: Option<Duration>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
}

impl ConnectOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
            tcp_keep_alive: Some(Duration::from_secs(10)),
            tcp_user_timeout: Some(Duration::from_secs(20)),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// How long a connect may take: resolving the name, TCP, TLS and the first answer over HTTP/2
    /// together. Default: 2 s. At least a millisecond.
    ///
    /// A call to an endpoint that is connecting waits as long at most. Within one data centre a
    /// connect takes milliseconds, and a failed one is repeated soon, so the limit is short: a host
    /// that does not answer is known to be down after it, and other endpoints are called. It is more
    /// than 1 s, after which the system repeats a first packet that was lost.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit.max(Duration::from_millis(1));
        self
    }

    /// The pauses between failed connects. Default: from 100 ms to 10 s.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long a connection is silent before the system asks the host for a sign of life (TCP
    /// keep-alive). Default: 10 s. At least 1 s. `None` turns it off.
    ///
    /// A host that has gone without a word, or that the network no longer reaches, is noticed on an
    /// idle connection after this time and two more questions, at the default about 20 s. The
    /// program does nothing for it.
    #[must_use]
    pub fn tcp_keep_alive(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.tcp_keep_alive = idle.into();
        self
    }

    /// How long sent data may remain unacknowledged by the host before the connection is given up.
    /// Default: 20 s. `None` leaves it to the system, which takes some 15 minutes. Only on Linux.
    ///
    /// Source: gRPC's [proposal A18], with its default.
    ///
    /// [proposal A18]: https://github.com/grpc/proposal/blob/master/A18-tcp-user-timeout.md
    #[must_use]
    pub fn tcp_user_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.tcp_user_timeout = limit.into();
        self
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn limit(&self) -> Duration {
        self.timeout
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// Connects with TLS: gRPC always, HTTP where the request's URI says `https`. Default: none.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::new()
    }
}
