//! Dialing: from an address to a connection, with one limit over all steps.

#[cfg(feature = "hyper")]
use super::http_versions::HttpVersions;
use super::{
    address::Address,
    connect_error::{ConnectError, ConnectErrorKind},
    encryption::Encryption,
    options::ConnectOptions,
    stream::Stream,
};
use sd_core::{Backoff, BoxError, ErrorChain, Escaped};
use socket2::{SockRef, TcpKeepalive};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

/// Connects to one endpoint.
///
/// A name is looked up for each connect, on a thread of tokio's pool for blocking work. A lookup
/// that hangs holds its thread for as long as the system's resolver waits.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    address: Address,
    options: ConnectOptions,
}

/// The moment at which a connect is given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline<'a> {
    address: &'a str,
    at: Instant,
    limit: Duration,
}

impl Deadline<'_> {
    /// Does one step of a connect.
    pub(super) async fn limit<T>(
        &self,
        step: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, ConnectError> {
        timeout_at(self.at, work).await.map_err(|_| {
            let limit = self.limit;
            ConnectError::new(
                self.address,
                ConnectErrorKind::TimedOut { step, limit },
                None,
            )
        })
    }
}

impl Dialer {
    /// A dialer of `address`, which is `host:port`.
    ///
    /// # Errors
    /// If the address is none.
    pub(super) fn new(address: &str, options: ConnectOptions) -> Result<Self, ConnectError> {
        Ok(Self {
            address: Address::parse(address)?,
            options,
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The pauses between connects that fail.
    pub(super) fn backoff(&self) -> Backoff {
        self.options.backoff.clone()
    }

    /// How an HTTP/2 connection is encrypted, if at all.
    ///
    /// # Errors
    /// If the host of the address cannot be the name of a server.
    #[cfg(feature = "tonic")]
    pub(super) fn h2(&self) -> Result<Option<Encryption>, ConnectError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.options.tls {
            let encryption = Encryption::of_h2(tls, self.address.host());
            return (encryption.map(Some)).map_err(|error| self.no_tls(error.into()));
        }
        Ok(None)
    }

    /// How a connection is encrypted for a URI with `https` and this host.
    ///
    /// # Errors
    /// If there is no TLS, or the host cannot be the name of a server.
    #[cfg(feature = "hyper")]
    pub(super) fn https(
        &self,
        host: &str,
        versions: HttpVersions,
    ) -> Result<Encryption, ConnectError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.options.tls {
            let encryption = Encryption::of_http(tls, host, versions);
            return encryption.map_err(|error| self.no_tls(error.into()));
        }
        let _ = (host, versions);
        Err(self.no_tls("the scheme is https, and no TLS is configured".into()))
    }

    #[cfg(any(feature = "hyper", feature = "tls"))]
    fn no_tls(&self, why: BoxError) -> ConnectError {
        ConnectError::new(self.address.as_str(), ConnectErrorKind::Tls, why)
    }

    /// The deadline of a connect that begins now.
    pub(super) fn deadline(&self) -> Deadline<'_> {
        let limit = self.options.timeout;
        Deadline {
            address: self.address.as_str(),
            at: Instant::now() + limit,
            limit,
        }
    }

    /// Connects, with this encryption if any. Cancellation safe: what was begun is dropped.
    pub(super) async fn dial(
        &self,
        encryption: Option<&Encryption>,
        deadline: Deadline<'_>,
    ) -> Result<Stream, ConnectError> {
        let tcp = self.connect(deadline).await?;
        self.configure(&tcp);
        let Some(encryption) = encryption else {
            return Ok(Stream::Plain(tcp));
        };
        let encrypted = encryption.handshake(tcp);
        let encrypted = deadline.limit("the TLS handshake", encrypted).await?;
        encrypted
            .map_err(|error| ConnectError::new(self.address.as_str(), ConnectErrorKind::Tls, error))
    }

    /// Connects to the first of the socket addresses that accepts. Each may take an equal share of
    /// the time that is left, so that one that does not answer leaves time for the others.
    async fn connect(&self, deadline: Deadline<'_>) -> Result<TcpStream, ConnectError> {
        let failed = |kind, error| ConnectError::new(self.address.as_str(), kind, error);
        let addresses = deadline
            .limit("the look-up of the name", self.address.resolve())
            .await?
            .map_err(|error| failed(ConnectErrorKind::Resolve, BoxError::from(error)))?;
        let mut last = failed(
            ConnectErrorKind::Resolve,
            BoxError::from("it has no address"),
        );
        let mut left = addresses.len() as u32;
        for address in addresses {
            let now = Instant::now();
            let share = deadline.at.saturating_duration_since(now) / left;
            let own = Deadline {
                at: now + share,
                ..deadline
            };
            left -= 1;
            match own.limit("TCP", connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => last = ConnectError::from_io(self.address.as_str(), error),
                Err(timed_out) => last = timed_out,
            }
        }
        Err(last)
    }

    /// Lets the system notice a host that has gone. What it does not support is left out.
    fn configure(&self, tcp: &TcpStream) {
        let socket = SockRef::from(tcp);
        let mut result = socket.set_tcp_nodelay(true);
        if let Some(idle) = self.options.tcp_keep_alive {
            // The system counts in seconds.
            let second = Duration::from_secs(1);
            let keep_alive = TcpKeepalive::new().with_time(idle.max(second));
            #[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
            let keep_alive = keep_alive
                .with_interval((idle / 2).max(second))
                .with_retries(2);
            result = result.and(socket.set_tcp_keepalive(&keep_alive));
        }
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Some(limit) = self.options.tcp_user_timeout {
            result = result.and(socket.set_tcp_user_timeout(Some(limit)));
        }
        if let Err(error) = result {
            // The connection works without.
            tracing::debug!(address = %Escaped(self.address.as_str()), error = %ErrorChain(&error), "a socket option was not set");
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn dial(options: ConnectOptions) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dialer = Dialer::new(&address, options).unwrap();
        match dialer.dial(None, dialer.deadline()).await.unwrap() {
            Stream::Plain(tcp) => tcp,
            #[cfg(feature = "tls")]
            Stream::Tls(_) => panic!("with TLS"),
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_system_watches_the_connection_as_the_options_say() {
        let second = Duration::from_secs(1);
        let tcp = dial(ConnectOptions::new()).await;
        let socket = SockRef::from(&tcp);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), 10 * second);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), 5 * second);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 2);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(20 * second));

        let options = ConnectOptions::new()
            .tcp_keep_alive(None)
            .tcp_user_timeout(None);
        let tcp = dial(options).await;
        let socket = SockRef::from(&tcp);
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        let often = dial(ConnectOptions::new().tcp_keep_alive(second)).await;
        assert_eq!(
            SockRef::from(&often).tcp_keepalive_interval().unwrap(),
            second
        );
    }
}
