//! Which errors in a series are worth a warning.
//!
//! A registry that cannot be reached affects every instancer and registrar of a client, perhaps a
//! thousand of them. The client [logs it](crate::Client#what-a-client-logs) once, and each of them
//! only if it lasts. An error in the registry's answer affects one of them, which logs it at once.

use crate::registry::Error;
use std::time::Duration;
use tokio::time::Instant;

/// How long an outage lasts before each instancer and registrar warns of it too.
const LONG: Duration = Duration::from_secs(30);

/// Why an error is worth a warning, the most severe reason last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// The registry could not be reached for a long time.
    LongOutage,
    /// The registry answered with an error that can pass.
    Refused,
    /// The error cannot pass by itself.
    Permanent,
}

/// The warnings that were given in one series of errors.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    since: Option<Instant>,
    given: Option<Severity>,
}

impl Warnings {
    /// Notes an error. Returns its severity if it is worth a warning: each severity at most once,
    /// and none after a more severe one.
    pub(crate) fn note(&mut self, error: &Error, now: Instant) -> Option<Severity> {
        let since = *self.since.get_or_insert(now);
        let severity = if !error.is_transient() {
            Severity::Permanent
        } else if !error.is_outage() {
            Severity::Refused
        } else if now.saturating_duration_since(since) >= LONG {
            Severity::LongOutage
        } else {
            return None;
        };
        if self.given >= Some(severity) {
            return None;
        }
        self.given = Some(severity);
        Some(severity)
    }

    /// Ends the series. Returns whether there was a warning, so that the end is worth a line too.
    pub(crate) fn end(&mut self) -> bool {
        std::mem::take(self).given.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage() -> Error {
        Error::unavailable("down")
    }

    fn refusal(transient: bool) -> Error {
        Error::Backend {
            message: "no".into(),
            transient,
            source: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_left_to_the_client_unless_it_lasts() {
        let mut warnings = Warnings::default();
        let start = Instant::now();
        assert_eq!(warnings.note(&outage(), start), None);
        let soon = start + LONG - Duration::from_millis(1);
        assert_eq!(warnings.note(&outage(), soon), None);
        let late = start + LONG;
        assert_eq!(warnings.note(&outage(), late), Some(Severity::LongOutage));
        assert_eq!(warnings.note(&outage(), late + LONG), None);
        assert!(warnings.end());
        assert_eq!(warnings.note(&outage(), late + LONG), None, "a new one");
        assert!(!warnings.end());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_warned_of_at_once_and_once() {
        let mut warnings = Warnings::default();
        let now = Instant::now();
        warnings.note(&outage(), now);
        let refused = warnings.note(&refusal(true), now);
        assert_eq!(refused, Some(Severity::Refused));
        assert_eq!(warnings.note(&refusal(true), now), None);
        assert_eq!(warnings.note(&outage(), now + LONG), None);
        let permanent = warnings.note(&refusal(false), now);
        assert_eq!(permanent, Some(Severity::Permanent));
        assert_eq!(warnings.note(&refusal(true), now), None);
        assert!(warnings.end());
    }
}
