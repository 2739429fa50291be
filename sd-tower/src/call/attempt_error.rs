//! Why one attempt of a call has failed.

#[cfg(feature = "hyper")]
use super::nothing_executed::lost_its_connect;
use super::{
    nothing_executed::nothing_executed,
    request_body::{RecordedBody, RequestBodyError},
};
use sd_core::{BoxError, Outcome};
use std::{error::Error as StdError, fmt, time::Duration};

/// Why one attempt of a call has failed.
///
/// It is in the chain of sources of the call's error, below the
/// [`RetryError`](sd_core::RetryError) that lists all attempts.
#[derive(Debug)]
pub struct AttemptError {
    fault: Fault,
    pub(super) outcome: Outcome,
    pub(super) nothing_executed: bool,
    pub(super) may_retry: bool,
    pub(super) retry_after: Option<Duration>,
}

#[derive(Debug)]
enum Fault {
    /// There was no answer.
    Broken(BoxError),
    /// The body of the request has failed.
    RequestBody(RequestBodyError),
    /// There was no answer within this time of the end of the request.
    NoAnswer(Duration),
    /// The answer is one that is tried again. It was kept, to be handed on if no other one comes.
    Answered(String),
}

impl AttemptError {
    /// The attempt broke off.
    pub(super) fn broken(error: BoxError, body: &RecordedBody, is_idempotent: bool) -> Self {
        if let Some(failure) = body.take_failure() {
            return Self {
                // The caller's fault.
                outcome: Outcome::Cancelled,
                nothing_executed: false,
                may_retry: false,
                retry_after: None,
                fault: Fault::RequestBody(failure),
            };
        }
        let not_executed = nothing_executed(&*error);
        let can_replay = body.can_replay();
        let outcome = Outcome::Failure;
        #[cfg(feature = "hyper")]
        let outcome = match lost_its_connect(&*error) {
            true => Outcome::Cancelled,
            false => outcome,
        };
        Self {
            outcome,
            nothing_executed: not_executed && can_replay,
            may_retry: can_replay && (not_executed || is_idempotent),
            retry_after: None,
            fault: Fault::Broken(error),
        }
    }

    pub(super) fn no_answer(after: Duration, may_retry: bool) -> Self {
        Self {
            outcome: Outcome::TimedOut,
            nothing_executed: false,
            may_retry,
            retry_after: None,
            fault: Fault::NoAnswer(after),
        }
    }

    /// An answer that is tried again.
    pub(super) fn answered(text: String, outcome: Outcome, retry_after: Option<Duration>) -> Self {
        Self {
            outcome,
            nothing_executed: false,
            may_retry: true,
            retry_after,
            fault: Fault::Answered(text),
        }
    }

    /// Whether it [proves](crate::nothing_executed) that nothing was executed.
    pub fn nothing_executed(&self) -> bool {
        self.nothing_executed
    }

    /// Whether there was no answer in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self.fault, Fault::NoAnswer(_))
    }

    /// Whether a response was kept.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.fault, Fault::Answered(_))
    }

    /// Whether the body of the request has failed, which ended the attempt.
    pub fn is_of_request_body(&self) -> bool {
        matches!(self.fault, Fault::RequestBody(_))
    }

    /// What broke the attempt off.
    #[cfg(feature = "tonic")]
    pub(crate) fn broken_by(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        match &self.fault {
            Fault::Broken(error) => Some(&**error),
            Fault::RequestBody(error) => Some(error),
            Fault::NoAnswer(_) | Fault::Answered(_) => None,
        }
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::Broken(error) => write!(f, "{}", sd_core::ErrorChain(&**error)),
            Fault::RequestBody(error) => write!(f, "{}", sd_core::ErrorChain(error)),
            Fault::NoAnswer(after) => write!(f, "no answer within {after:?}"),
            Fault::Answered(text) => f.write_str(text),
        }
    }
}

impl StdError for AttemptError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.fault {
            Fault::Broken(error) => Some(&**error),
            Fault::RequestBody(error) => Some(error),
            Fault::NoAnswer(_) | Fault::Answered(_) => None,
        }
    }
}
