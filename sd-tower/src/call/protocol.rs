//! What differs between gRPC and HTTP in a call.

use super::attempt_error::AttemptError;
use http::{HeaderMap, request, response};
use sd_core::{BoxError, Outcome, RetryError};
use std::time::Duration;

/// The protocol of calls: where it hides a deadline, a status, a wish.
pub(crate) trait Protocol: Send + Sync + Sized + 'static {
    /// What a server answers, as the [policies](super::CallPolicy) name it.
    type Code: PartialEq + Send + Sync + 'static;
    /// The answers that are tried again where the policy names none.
    const RETRY_ON: &'static [Self::Code];
    /// Whether a server that takes no more of a request is known only by the time that passes. Over
    /// HTTP/2 it can be asked for a sign of life.
    const KNOWS_STALLS_BY_TIME: bool;
    /// Why there is no response.
    type Error: Send + 'static;

    /// The name of the policy for a request: what it is looked up by.
    fn method(request: &request::Parts) -> &str;

    /// Whether a request of this kind may be executed twice, whatever the policy says.
    fn is_idempotent(request: &request::Parts) -> bool;

    /// Whether answers are tried again that the policy says so of.
    fn repeats_answers(is_idempotent: bool) -> bool;

    /// Takes the caller's limit of time out of the headers.
    fn take_timeout(request: &mut request::Parts) -> Option<Duration>;

    /// Writes into the headers of an attempt how many before it a server may have executed, and how
    /// much time is left.
    fn prepare_attempt(headers: &mut HeaderMap, executed: u32, left: Option<Duration>);

    /// What the head of a response says. `is_complete`: it has no body.
    fn judge(
        &self,
        request: &request::Parts,
        response: &response::Parts,
        is_complete: bool,
    ) -> Answer<Self::Code>;

    /// What the end of the body says about the endpoint.
    fn judge_end(trailers: Option<&HeaderMap>) -> Outcome;

    /// What the server has answered, as the end of the body says.
    fn code_of_end(trailers: &HeaderMap) -> Option<Self::Code>;

    /// Mends trailers, or a head that may be one: what clients cannot cope with, and what is untrue
    /// since the deadline has passed.
    fn repair(trailers: &mut HeaderMap, is_late: bool);

    /// The error of a body that broke off, and what it says about the endpoint.
    fn body_error(error: BoxError) -> (Outcome, Self::Error);

    /// The error of a call whose time was over before it began, or before its body had ended.
    fn timed_out(after: Duration) -> Self::Error;

    /// The error of a call without a response. `is_late`: its time is over.
    fn call_error(error: RetryError<AttemptError>, is_late: bool) -> Self::Error;
}

/// What the head of a response says.
pub(crate) struct Answer<Code> {
    /// `None` if the status comes with the trailers.
    pub(crate) code: Option<Code>,
    /// What it says about the endpoint; `None` if the end of the body tells that.
    pub(crate) outcome: Option<Outcome>,
    /// When to call again, if the server says so.
    pub(crate) pushback: Pushback,
    /// The answer as a text for errors.
    pub(crate) text: fn(&response::Parts) -> String,
}

/// What a server says about calling again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushback {
    None,
    After(Duration),
    #[cfg_attr(
        not(feature = "tonic"),
        expect(dead_code, reason = "HTTP cannot say it")
    )]
    Never,
}
