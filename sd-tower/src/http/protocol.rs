//! HTTP, as the call core needs to know it.

use super::{error::HttpError, retry_after};
use crate::call::{Answer, AttemptError, Protocol, Pushback};
use http::{HeaderMap, StatusCode, header::RETRY_AFTER, request, response};
use sd_core::{BoxError, Outcome, RetryError};
use std::time::{Duration, SystemTime};

#[derive(Debug)]
pub(crate) struct Http;

/// The time of one call, as an extension of its request: HTTP has no header for it.
#[derive(Clone, Copy)]
pub(super) struct RequestTimeout(pub(super) Duration);

impl Protocol for Http {
    type Code = StatusCode;
    /// The answers of gateways and of servers that are starting or stopping. Not 429: where a limit
    /// is on the caller, others would answer the same.
    const RETRY_ON: &'static [StatusCode] = &[
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    const KNOWS_STALLS_BY_TIME: bool = true;
    type Error = HttpError;

    fn method(request: &request::Parts) -> &str {
        request.uri.path()
    }

    fn is_idempotent(request: &request::Parts) -> bool {
        request.method.is_idempotent()
    }

    fn repeats_answers(is_idempotent: bool) -> bool {
        is_idempotent
    }

    fn take_timeout(request: &mut request::Parts) -> Option<Duration> {
        request
            .extensions
            .remove()
            .map(|RequestTimeout(timeout)| timeout)
    }

    fn prepare_attempt(_: &mut HeaderMap, _: u32, _: Option<Duration>) {}

    fn judge(&self, _: &request::Parts, response: &response::Parts, _: bool) -> Answer<StatusCode> {
        Answer {
            code: Some(response.status),
            outcome: fault_of(response.status),
            pushback: match response.headers.get(RETRY_AFTER) {
                Some(value) => retry_after::parse(value, SystemTime::now())
                    .map_or(Pushback::None, Pushback::After),
                None => Pushback::None,
            },
            text: |response| format!("HTTP status {}", response.status),
        }
    }

    fn judge_end(_: Option<&HeaderMap>) -> Outcome {
        Outcome::Success
    }

    /// It is in the head.
    fn code_of_end(_: &HeaderMap) -> Option<StatusCode> {
        None
    }

    fn repair(_: &mut HeaderMap, _: bool) {}

    fn body_error(error: BoxError) -> (Outcome, HttpError) {
        (Outcome::Failure, HttpError::body(error))
    }

    fn timed_out(after: Duration) -> HttpError {
        HttpError::timed_out(after)
    }

    fn call_error(error: RetryError<AttemptError>, _: bool) -> HttpError {
        HttpError::call(error)
    }
}

/// What a status says about the server, if it has failed.
fn fault_of(status: StatusCode) -> Option<Outcome> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some(Outcome::Overloaded),
        // About the request: no instance would serve it.
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => None,
        status if status.as_u16() >= 500 => Some(Outcome::Failure),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_servers_that_fail_are_their_faults() {
        let statuses = |outcome| {
            let statuses = (100..1000).filter_map(|code| StatusCode::from_u16(code).ok());
            let statuses = statuses.filter(move |status| fault_of(*status) == outcome);
            statuses.map(|status| status.as_u16()).collect::<Vec<_>>()
        };
        assert_eq!(statuses(Some(Outcome::Overloaded)), [429]);
        let failures = statuses(Some(Outcome::Failure));
        assert_eq!(failures[..6], [500, 502, 503, 504, 506, 507]);
        assert_eq!(failures.len(), 498);
    }
}
