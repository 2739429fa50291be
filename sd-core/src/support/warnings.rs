//! What of a course of trouble is worth a warning.
//!
//! A registry that cannot be reached is the trouble of all that hang on one client, a thousand
//! prefixes and services perhaps. The client [says it](crate::Client#what-a-client-logs) once, and
//! each of them only if it lasts. What the registry answered to one of them is that one's own news.

use crate::registry::Error;
use std::time::Duration;
use tokio::time::Instant;

/// How long trouble that the client tells of may last before those tell of it, too, who suffer it.
const LASTING: Duration = Duration::from_secs(30);

/// Why it is worth a warning, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gravity {
    /// The registry cannot be reached, and for long.
    Lasting,
    /// The registry answered, and not as it should.
    Particular,
    /// It does not pass by itself.
    Hopeless,
}

/// The warnings that were given in one course of trouble.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    since: Option<Instant>,
    given: Option<Gravity>,
}

impl Warnings {
    /// Takes note of trouble. Says how grave it is if that is to be warned of: nothing is said
    /// twice, and nothing less after what is graver.
    pub(crate) fn note(&mut self, error: &Error, now: Instant) -> Option<Gravity> {
        let since = *self.since.get_or_insert(now);
        let gravity = if !error.is_transient() {
            Gravity::Hopeless
        } else if !error.is_outage() {
            Gravity::Particular
        } else if now.saturating_duration_since(since) >= LASTING {
            Gravity::Lasting
        } else {
            return None;
        };
        if self.given >= Some(gravity) {
            return None;
        }
        self.given = Some(gravity);
        Some(gravity)
    }

    /// The trouble is over. Whether there was a warning, so that the end is news as well.
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
        let soon = start + LASTING - Duration::from_millis(1);
        assert_eq!(warnings.note(&outage(), soon), None);
        let late = start + LASTING;
        assert_eq!(warnings.note(&outage(), late), Some(Gravity::Lasting));
        assert_eq!(warnings.note(&outage(), late + LASTING), None);
        assert!(warnings.end());
        assert_eq!(warnings.note(&outage(), late + LASTING), None, "a new one");
        assert!(!warnings.end());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_registry_answers_is_said_at_once_and_once() {
        let mut warnings = Warnings::default();
        let now = Instant::now();
        warnings.note(&outage(), now);
        let particular = warnings.note(&refusal(true), now);
        assert_eq!(particular, Some(Gravity::Particular));
        assert_eq!(warnings.note(&refusal(true), now), None);
        assert_eq!(warnings.note(&outage(), now + LASTING), None);
        let hopeless = warnings.note(&refusal(false), now);
        assert_eq!(hopeless, Some(Gravity::Hopeless));
        assert_eq!(warnings.note(&refusal(true), now), None);
        assert!(warnings.end());
    }
}
