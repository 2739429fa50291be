//! The panic threshold: when to use all endpoints, since too few are healthy.

use crate::{calls::meters::PanicMeter, support::LogThrottle};
use std::time::Duration;
use tokio::time::Instant;

/// The default, which is that of Envoy.
pub(super) const PANIC_PERCENT: u8 = 50;

/// Says whether an adapter uses the unhealthy endpoints as well. If most endpoints look unhealthy,
/// the fault is more likely in what they have in common, or in the looking, and the few others
/// could not carry all calls.
///
/// Source: Envoy's [panic threshold].
///
/// [panic threshold]: https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/panic_threshold
pub(super) struct PanicThreshold {
    /// What the log calls the adapter.
    adapter: &'static str,
    /// Panic begins with fewer healthy endpoints than this percentage; 0 means never.
    percent: u8,
    since: Option<Instant>,
    /// Whether the beginning was logged.
    is_logged: bool,
    throttle: LogThrottle,
    meter: PanicMeter,
}

impl PanicThreshold {
    pub(super) fn new(adapter: &'static str, percent: u8) -> Self {
        Self {
            adapter,
            percent,
            since: None,
            is_logged: false,
            throttle: LogThrottle::new(1).with_first_pause(Duration::from_secs(60)),
            meter: PanicMeter::new(),
        }
    }

    /// Whether all endpoints are used, if `healthy` of `all` are healthy. Logs when that changes.
    pub(super) fn is_passed(&mut self, healthy: usize, all: usize, now: Instant) -> bool {
        let in_panic = healthy * 100 < usize::from(self.percent) * all;
        self.meter.set(in_panic);
        match (self.since, in_panic) {
            (None, true) => {
                self.since = Some(now);
                self.is_logged = self.throttle.allows(now);
                if self.is_logged {
                    tracing::warn!(
                        adapter = self.adapter,
                        healthy,
                        endpoints = all,
                        "too few endpoints are healthy, using all"
                    );
                }
            }
            (Some(since), false) => {
                self.since = None;
                if self.is_logged {
                    let after = now.saturating_duration_since(since);
                    tracing::info!(
                        adapter = self.adapter,
                        healthy,
                        endpoints = all,
                        ?after,
                        "enough endpoints are healthy again"
                    );
                }
            }
            (Some(_), true) | (None, false) => {}
        }
        in_panic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Log;

    #[test]
    fn fewer_than_the_percentage_is_panic() {
        let now = Instant::now();
        let mut half = PanicThreshold::new("test", 50);
        let panic = [(10, 5), (10, 4), (1, 0), (3, 1), (3, 2), (0, 0)]
            .map(|(all, healthy)| half.is_passed(healthy, all, now));
        assert_eq!(panic, [false, true, true, true, false, false]);
        assert!(!PanicThreshold::new("test", 0).is_passed(0, 10, now));
        assert!(PanicThreshold::new("test", 100).is_passed(9, 10, now));
    }

    #[test]
    fn it_is_logged_when_it_begins_and_ends_and_not_for_ever() {
        let log = Log::capture();
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut threshold = PanicThreshold::new("test", 50);
        for healthy in [9, 1, 0, 8, 8] {
            threshold.is_passed(healthy, 9, start);
        }
        let begins = "WARN too few endpoints are healthy, using all \
                      adapter=\"test\" healthy=1 endpoints=9";
        let ends = "INFO enough endpoints are healthy again \
                    adapter=\"test\" healthy=8 endpoints=9 after=0ns";
        assert_eq!(log.text(), [begins, ends]);
        for n in 0..100 {
            threshold.is_passed(n % 2 * 9, 9, start + second * n as u32);
        }
        assert!(log.text().len() <= 6, "{:?}", log.text());
    }
}
