//! How often a server is asked for a sign of life: as often as it bears.

use super::options::Http2Options;
use std::{error::Error as StdError, time::Duration};

/// Just above what gRPC servers accept by default: one ping in five minutes.
const BEARABLE: Duration = Duration::from_secs(5 * 60 + 10);

/// The keep-alive of the connections to one address. Adapts to the server.
#[derive(Debug)]
pub(super) struct KeepAlive {
    interval: Option<Duration>,
    timeout: Duration,
}

impl KeepAlive {
    pub(super) fn new(options: &Http2Options) -> Self {
        Self {
            interval: options.keep_alive_interval,
            timeout: options.keep_alive_timeout,
        }
    }

    pub(super) fn interval(&self) -> Option<Duration> {
        self.interval
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A connection has ended with `error`. Asks less often from now on, if it was too often.
    pub(super) fn ended(&mut self, error: &hyper::Error) {
        if is_too_many_pings(error) {
            let longer = |interval: Duration| interval.saturating_mul(2).max(BEARABLE);
            self.interval = self.interval.map(longer);
        }
    }
}

/// Whether the server ended the connection since the client was too busy. It does not say with what
/// in a way that is ours to read, so any reason counts.
fn is_too_many_pings(error: &hyper::Error) -> bool {
    let error = error.source().and_then(|it| it.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        error.is_go_away()
            && error.is_remote()
            && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Empty;
    use hyper::client::conn::http2::handshake;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::AsyncWriteExt;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The error of a connection that a server has ended with this code.
    async fn goaway(code: u8) -> Option<hyper::Error> {
        let (client, mut server) = tokio::io::duplex(1024);
        let handshake =
            handshake::<_, _, Empty<bytes::Bytes>>(TokioExecutor::new(), TokioIo::new(client));
        let (_sender, requests) = handshake.await.unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, code];
        server.write_all(&settings).await.unwrap();
        server.write_all(&goaway).await.unwrap();
        requests.await.err()
    }

    fn keep_alive(interval: impl Into<Option<Duration>>) -> KeepAlive {
        KeepAlive::new(&Http2Options::new().keep_alive_interval(interval))
    }

    #[tokio::test]
    async fn a_server_that_is_asked_too_often_is_asked_as_often_as_grpc_servers_bear() {
        let too_often = goaway(0xb).await.unwrap();
        let mut often = keep_alive(MINUTE);
        often.ended(&too_often);
        assert_eq!(often.interval(), Some(BEARABLE));
        often.ended(&too_often);
        assert_eq!(often.interval(), Some(2 * BEARABLE));
        let mut rarely = keep_alive(10 * MINUTE);
        rarely.ended(&too_often);
        assert_eq!(rarely.interval(), Some(20 * MINUTE));
        let mut never = keep_alive(None);
        never.ended(&too_often);
        assert_eq!(never.interval(), None);
    }

    #[tokio::test]
    async fn other_ends_change_nothing() {
        let mut keep_alive = keep_alive(MINUTE);
        keep_alive.ended(&goaway(2).await.unwrap());
        assert_eq!(keep_alive.interval(), Some(MINUTE));
        assert!(goaway(0).await.is_none(), "graceful");
    }
}
