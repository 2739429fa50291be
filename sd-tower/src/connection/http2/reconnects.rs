//! When to connect again. A state machine without I/O.

use crate::connection::{connect_error::ConnectError, outage::Outage};
use sd_core::{Backoff, Connectivity};
use std::time::Duration;
use tokio::time::Instant;

/// A connection that lasted as long was good.
const LASTING: Duration = Duration::from_secs(1);

/// Spaces the connects to one endpoint.
///
/// After a good connection it connects at once. So it does after one that did not last, but not
/// twice in a row: a server that accepts connections and ends them is failing.
#[derive(Debug)]
pub(super) struct Reconnects {
    outage: Outage,
    connected: Instant,
    /// Whether the connection before did not last.
    was_short: bool,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    ConnectNow,
    /// Until then, calls fail.
    ConnectAt(Instant, Connectivity),
}

impl Reconnects {
    pub(super) fn new(backoff: Backoff, now: Instant) -> Self {
        Self {
            outage: Outage::none(backoff),
            connected: now,
            was_short: false,
        }
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.connected = now;
        self.outage.ended();
    }

    /// A connect has failed.
    pub(super) fn failed(&mut self, error: ConnectError, now: Instant) -> Next {
        let (at, state) = self.outage.failed(error, now);
        Next::ConnectAt(at, state)
    }

    /// The connection has ended; `error` is for those who call during the pause, if there is one.
    pub(super) fn ended(&mut self, error: ConnectError, now: Instant) -> Next {
        let was_short = now.saturating_duration_since(self.connected) < LASTING;
        if !was_short {
            self.outage.forget();
        } else if self.was_short {
            return self.failed(error, now);
        }
        self.was_short = was_short;
        Next::ConnectNow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::connect_error::ConnectErrorKind;

    fn error() -> ConnectError {
        ConnectError::new("h:1", ConnectErrorKind::Closed, None)
    }

    /// The pause in milliseconds, and how long the outage lasts already.
    fn pause(next: Next, now: Instant) -> Option<(u128, u128)> {
        match next {
            Next::ConnectNow => None,
            Next::ConnectAt(at, Connectivity::Failing { since, .. }) => {
                Some(((at - now).as_millis(), (now - since).as_millis()))
            }
            Next::ConnectAt(..) => panic!("not failing"),
        }
    }

    fn reconnects(now: Instant) -> Reconnects {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        Reconnects::new(backoff, now)
    }

    #[test]
    fn pauses_grow_until_a_connection_lasts() {
        let start = Instant::now();
        let mut reconnects = reconnects(start);
        let mut longest = Vec::new();
        for n in 0..10 {
            let now = start + Duration::from_secs(n);
            let (pause, outage) = pause(reconnects.failed(error(), now), now).unwrap();
            assert_eq!(outage, u128::from(n) * 1000);
            longest.push(pause);
        }
        assert!((50..=100).contains(&longest[0]), "{longest:?}");
        assert!((5_000..=10_000).contains(&longest[9]), "{longest:?}");

        let now = start + Duration::from_secs(60);
        reconnects.connected(now);
        let now = now + LASTING;
        assert_eq!(pause(reconnects.ended(error(), now), now), None);
        let (pause, outage) = pause(reconnects.failed(error(), now), now).unwrap();
        assert!(
            (50..=100).contains(&pause) && outage == 0,
            "{pause} {outage}"
        );
    }

    #[test]
    fn a_server_that_ends_what_it_accepts_is_failing() {
        let start = Instant::now();
        let mut reconnects = reconnects(start);
        let mut pauses = Vec::new();
        let mut now = start;
        for _ in 0..8 {
            reconnects.connected(now);
            now += Duration::from_millis(1);
            pauses.push(pause(reconnects.ended(error(), now), now));
        }
        assert_eq!(pauses[0], None, "a server may be restarted");
        let pauses: Vec<_> = pauses[1..].iter().map(|it| it.unwrap()).collect();
        assert!(pauses.iter().all(|(_, outage)| *outage == 0), "{pauses:?}");
        assert!(pauses[6].0 >= 3_000, "they grow: {pauses:?}");

        reconnects.connected(now);
        now += LASTING;
        for _ in 0..2 {
            assert_eq!(pause(reconnects.ended(error(), now), now), None);
            reconnects.connected(now);
            now += LASTING;
        }
    }
}
