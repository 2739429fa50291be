//! The state of a client's authentication. Without I/O.

use super::{auth_outcome::Outcome, meters};
use crate::support::{GaugeGuard, count};
use sd_core::{Backoff, Error, ErrorChain, Escaped};
use std::time::Duration;
use tokio::time::Instant;

/// The longest pause before credentials that were refused are shown again.
const RAREST: Duration = Duration::from_secs(30);
/// The longest pause, without its random part, before an authentication that failed is repeated.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Another member may not know a token yet that is younger than this.
const NEW: Duration = Duration::from_secs(1);
const SETTLING: Duration = Duration::from_millis(250);
/// How many times the time of an authentication is doubled after it was too short.
const DOUBLINGS: u32 = 2;

/// What to do for a caller that needs a token.
#[derive(Debug)]
pub(super) enum Step {
    /// Use the token that there is, or none where none is needed.
    Use,
    /// The same after a moment.
    UseAfter(Duration),
    /// Give up: the pause after a failure lasts.
    Fail(Error),
    /// Authenticate, or wait for the authentication that is under way.
    Authenticate { within: Duration },
}

pub(super) struct AuthState {
    timeout: Duration,
    /// How many tokens there were.
    generation: u64,
    standing: Standing,
    user: Option<String>,
    /// When the authentication began that is under way, or was the last.
    begun: Option<Instant>,
    /// Consecutive authentications that were not answered in time.
    timeouts: u32,
    failures: Backoff,
    refusals: Backoff,
    /// Since when there is no token although one is needed.
    waiting: Option<(Instant, GaugeGuard)>,
    /// A failure was said, as an error if it was a refusal.
    said: Option<Said>,
}

#[derive(PartialEq)]
enum Said {
    Failed,
    Refused,
}

enum Standing {
    /// There was no authentication yet, or its token is refused by now.
    Unknown,
    /// etcd granted a token, or has authentication turned off.
    Known {
        since: Instant,
        /// A request was served with it.
        is_accepted: bool,
    },
    Failed {
        error: Error,
        until: Instant,
    },
}

impl AuthState {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            generation: 0,
            standing: Standing::Unknown,
            user: None,
            begun: None,
            timeouts: 0,
            failures: Backoff::new(Duration::from_millis(500), LONGEST_PAUSE),
            refusals: Backoff::new(Duration::from_secs(1), RAREST),
            waiting: None,
            said: None,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// A request was served with the token of `generation`.
    pub(super) fn accepted(&mut self, generation: u64) {
        if let Standing::Known { is_accepted, .. } = &mut self.standing
            && generation == self.generation
            && !std::mem::replace(is_accepted, true)
        {
            self.failures.reset();
        }
    }

    /// Returns what to do for a caller whose request was refused with the token of generation
    /// `refused`, or that has made none yet.
    pub(super) fn next(&mut self, refused: Option<u64>, now: Instant) -> Step {
        if let Standing::Known { since, is_accepted } = self.standing {
            if refused != Some(self.generation) {
                return Step::Use;
            }
            if !is_accepted && now < since + NEW {
                return Step::UseAfter(SETTLING);
            }
            if is_accepted {
                self.standing = Standing::Unknown;
            } else {
                // Not by etcd that granted it, it seems: not to be repeated without a pause.
                self.standing = Standing::Failed {
                    error: Error::unavailable("etcd refuses a token that it has just granted"),
                    until: now + self.failures.next_delay(),
                };
            }
        }
        match &self.standing {
            Standing::Failed { error, until } if now < *until => Step::Fail(error.clone()),
            _ => Step::Authenticate {
                within: self.timeout * (1 << self.timeouts.min(DOUBLINGS)),
            },
        }
    }

    /// An authentication began.
    pub(super) fn begun(&mut self, now: Instant) {
        self.begun = Some(now);
        self.waiting
            .get_or_insert_with(|| (now, GaugeGuard::new(meters::UNAUTHENTICATED)));
    }

    /// An authentication ended.
    pub(super) fn finished(&mut self, outcome: &Outcome, now: Instant) {
        let lasted = self.begun.map_or(Duration::ZERO, |begun| now - begun);
        match outcome {
            Outcome::Granted(user, _) => {
                counted("granted");
                self.user = Some(user.clone());
                self.known(now);
            }
            Outcome::Disabled => {
                counted("disabled");
                self.known(now);
            }
            Outcome::Refused(user, error) => {
                counted("refused");
                let pause = self.refusals.next_delay();
                self.user = Some(user.clone());
                self.fail(error, now + pause);
                if self.says(Said::Refused) {
                    tracing::error!(
                        user = %Escaped(user), error = %ErrorChain(error), ?pause,
                        "etcd refuses the credentials, trying again after a pause"
                    );
                } else {
                    tracing::debug!(user = %Escaped(user), error = %ErrorChain(error), ?pause, "credentials refused again");
                }
            }
            Outcome::Failed {
                error, was_asked, ..
            } => {
                let mut pause = Duration::ZERO;
                if *was_asked {
                    counted("failed");
                    // etcd had as much to do as it took this long to give up.
                    pause = self.failures.next_delay() + lasted.mul_f64(2.0 * fastrand::f64());
                }
                match error {
                    Error::Timeout { .. } if *was_asked => self.timeouts += 1,
                    _ => self.timeouts = 0,
                }
                self.fail(error, now + pause);
                if self.says(Said::Failed) {
                    tracing::warn!(error = %ErrorChain(error), ?pause, "not authenticated, trying on");
                } else {
                    tracing::debug!(error = %ErrorChain(error), ?pause, "not authenticated again");
                }
            }
        }
    }

    fn known(&mut self, now: Instant) {
        self.generation += 1;
        self.timeouts = 0;
        self.refusals.reset();
        self.standing = Standing::Known {
            since: now,
            is_accepted: false,
        };
        let waiting = self.waiting.take();
        if let (Some(_), Some((since, _))) = (self.said.take(), waiting) {
            let after = now - since;
            let user = self.user.as_deref().unwrap_or_default();
            tracing::info!(user = %Escaped(user), ?after, "authenticated again");
        }
    }

    fn fail(&mut self, error: &Error, until: Instant) {
        self.standing = Standing::Failed {
            error: error.clone(),
            until,
        };
    }

    /// Whether that is news.
    fn says(&mut self, what: Said) -> bool {
        let is_news = self.said.as_ref() != Some(&what);
        self.said = Some(what);
        is_news
    }
}

fn counted(outcome: &'static str) {
    count(meters::AUTHENTICATIONS, Some(("outcome", outcome)), 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn granted() -> Outcome {
        Outcome::Granted("a".into(), HeaderValue::from_static("token"))
    }

    fn timed_out() -> Outcome {
        Outcome::Failed {
            error: Error::Timeout {
                operation: "authenticate",
                after: TIMEOUT,
            },
            is_member_fault: true,
            was_asked: true,
        }
    }

    fn refused() -> Outcome {
        let error = Error::Unauthenticated {
            message: "authentication failed".into(),
            source: None,
        };
        Outcome::Refused("a".into(), error)
    }

    fn begins(state: &mut AuthState, refused: Option<u64>, now: Instant) -> Duration {
        match state.next(refused, now) {
            Step::Authenticate { within } => {
                state.begun(now);
                within
            }
            other => panic!("{other:?}"),
        }
    }

    /// Returns how long nothing is asked after a failure at `now`.
    fn pause(state: &mut AuthState, now: Instant) -> Duration {
        let mut later = now;
        while let Step::Fail(_) = state.next(None, later) {
            later += Duration::from_millis(100);
        }
        later - now
    }

    #[test]
    fn a_token_is_used_until_it_is_refused() {
        let now = Instant::now();
        let mut state = AuthState::new(TIMEOUT);
        assert_eq!(begins(&mut state, None, now), TIMEOUT);
        state.finished(&granted(), now);
        let token = state.generation();
        assert!(matches!(state.next(None, now), Step::Use));
        state.accepted(token);

        let later = now + Duration::from_secs(1000);
        assert!(matches!(state.next(None, later), Step::Use));
        assert!(matches!(state.next(Some(token - 1), later), Step::Use));
        begins(&mut state, Some(token), later);
    }

    /// Of a cluster whose members do not know each other's tokens.
    #[test]
    fn a_token_that_was_never_accepted_is_not_replaced_at_once() {
        let now = Instant::now();
        let mut state = AuthState::new(TIMEOUT);
        begins(&mut state, None, now);
        state.finished(&granted(), now);
        let token = Some(state.generation());

        assert!(matches!(state.next(token, now), Step::UseAfter(SETTLING)));
        let later = now + NEW;
        assert!(matches!(state.next(token, later), Step::Fail(_)));
        begins(&mut state, token, later + Duration::from_secs(1));
    }

    /// Row 29: pauses grow with what is not served, up to a bound, and so does the patience.
    #[test]
    fn what_was_not_served_is_repeated_ever_more_rarely() {
        let mut now = Instant::now();
        let mut state = AuthState::new(TIMEOUT);
        let mut patience = Vec::new();
        for round in 0..20 {
            let within = begins(&mut state, None, now);
            patience.push(within);
            now += within;
            state.finished(&timed_out(), now);
            let pause = pause(&mut state, now);
            assert!(
                pause <= LONGEST_PAUSE + 2 * within + TIMEOUT / 100,
                "{pause:?}"
            );
            let least = Duration::from_millis(250) * (1 << round.min(6));
            assert!(pause >= least.min(LONGEST_PAUSE / 2), "{round}: {pause:?}");
            now += pause;
        }
        assert_eq!(patience[..3], [TIMEOUT, 2 * TIMEOUT, 4 * TIMEOUT]);
        assert_eq!(patience[19], 4 * TIMEOUT);
    }

    /// Item 4: a wrong password is asked for again, after a bounded pause, and is answered at once
    /// meanwhile.
    #[test]
    fn a_refusal_lasts_for_a_bounded_pause() {
        let mut now = Instant::now();
        let mut state = AuthState::new(TIMEOUT);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            begins(&mut state, None, now);
            state.finished(&refused(), now);
            assert!(matches!(
                state.next(None, now),
                Step::Fail(Error::Unauthenticated { .. })
            ));
            pauses.push(pause(&mut state, now));
            now += pauses[pauses.len() - 1];
        }
        assert!(pauses[0] <= Duration::from_millis(1100), "{pauses:?}");
        assert!(pauses[9] >= RAREST / 2 && pauses[9] <= RAREST + Duration::from_millis(100));
    }

    #[test]
    fn nothing_that_was_not_sent_is_paused_for() {
        let now = Instant::now();
        let mut state = AuthState::new(TIMEOUT);
        begins(&mut state, None, now);
        let frozen = Outcome::Failed {
            error: Error::unavailable("frozen"),
            is_member_fault: true,
            was_asked: false,
        };
        state.finished(&frozen, now);
        begins(&mut state, None, now);
    }
}
