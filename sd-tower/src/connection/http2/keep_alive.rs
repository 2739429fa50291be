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
