//! gRPC, as the call core needs to know it.

use super::{
    classify::{code_of, code_of_broken, code_of_head, outcome_of, set_status, status_of_broken},
    timeout_header,
    unimplemented::UnimplementedMethods,
};
use crate::call::{Answer, AttemptError, Protocol, Pushback};
use http::{HeaderMap, HeaderName, HeaderValue, request, response};
use sd_core::{AttemptError as Failed, BoxError, Outcome, RetryError};
use std::{sync::Arc, time::Duration};
use tonic::{Code, Status};

#[derive(Default)]
pub(crate) struct Grpc {
    unimplemented: UnimplementedMethods,
}

const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

impl Protocol for Grpc {
    type Code = Code;
    const KNOWS_STALLS_BY_TIME: bool = false;
    const RETRY_ON: &'static [Code] = &[];
    type Error = Status;

    fn method(request: &request::Parts) -> &str {
        request.uri.path()
    }

    fn is_idempotent(_: &request::Parts) -> bool {
        false
    }

    fn repeats_answers(_: bool) -> bool {
        true
    }

    fn take_timeout(request: &mut request::Parts) -> Option<Duration> {
        timeout_header::parse(&request.headers.remove(timeout_header::NAME)?)
    }

    fn prepare_attempt(headers: &mut HeaderMap, attempt: u32, left: Option<Duration>) {
        if let Some(left) = left {
            headers.insert(timeout_header::NAME, timeout_header::format(left));
        }
        if attempt > 1 {
            headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(attempt - 1));
        }
    }

    fn judge(
        &self,
        request: &request::Parts,
        response: &response::Parts,
        is_complete: bool,
    ) -> Answer<Code> {
        let code = code_of_head(response);
        let is_fault = self.unimplemented.is_fault(request.uri.path(), code);
        let outcome = match code {
            Some(_) if is_fault => Some(Outcome::Failure),
            Some(code) => Some(outcome_of(code)),
            None if is_complete => Some(Outcome::Failure),
            None => None,
        };
        Answer {
            code,
            outcome,
            // Of answers that may be tried again.
            pushback: code.map_or(Pushback::None, |_| pushback(&response.headers)),
            text: |response| match Status::from_header_map(&response.headers) {
                Some(status) => format!("{:?}: {}", status.code(), status.message()),
                None => format!("HTTP status {}", response.status),
            },
        }
    }

    fn judge_end(trailers: Option<&HeaderMap>) -> Outcome {
        // A response without a status breaks the protocol.
        trailers
            .and_then(code_of)
            .map_or(Outcome::Failure, outcome_of)
    }

    fn repair(trailers: &mut HeaderMap, is_late: bool) {
        // A server that keeps the deadline itself says that the call was cancelled, as tonic's does.
        if is_late && code_of(trailers) == Some(Code::Cancelled) {
            set_status(
                trailers,
                Code::DeadlineExceeded,
                "the deadline of the call has passed",
            );
        }
        // tonic panics at details that are not in base64.
        if trailers.get(DETAILS).is_some_and(|value| !is_base64(value)) {
            trailers.remove(DETAILS);
        }
    }

    fn body_error(error: BoxError) -> (Outcome, Status) {
        let status = status_of_broken(error);
        let outcome = match status.code() {
            // The server reset the stream: nobody here has.
            Code::Cancelled => Outcome::Failure,
            code => outcome_of(code),
        };
        (outcome, status)
    }

    fn body_timed_out(after: Duration) -> Status {
        Status::deadline_exceeded(format!("the call has not ended within {after:?}"))
    }

    fn call_error(error: RetryError<AttemptError>) -> Status {
        let code = match error.attempts().last().map(|last| &last.error) {
            Some(Failed::TimedOut { .. }) => Code::DeadlineExceeded,
            Some(Failed::Failed(failed)) => match failed.broken_by() {
                Some(error) => code_of_broken(error),
                None => Code::DeadlineExceeded,
            },
            _ => Code::Unavailable,
        };
        let mut status = Status::new(code, error.to_string());
        status.set_source(Arc::new(error));
        status
    }
}

/// What a server says about calling again. What is not a number means never.
fn pushback(headers: &HeaderMap) -> Pushback {
    let Some(value) = headers.get(PUSHBACK) else {
        return Pushback::None;
    };
    let millis = value
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u32>().ok());
    millis.map_or(Pushback::Never, |millis| {
        Pushback::After(Duration::from_millis(millis.into()))
    })
}

/// Whether tonic can decode it: the alphabet, at most two characters of padding, and a length that
/// whole bytes have.
fn is_base64(value: &HeaderValue) -> bool {
    let text = value.as_bytes();
    let unpadded = text
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |last| last + 1);
    let padding = text.len() - unpadded;
    let is_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text[..unpadded].iter().all(is_alphabet)
        && unpadded % 4 != 1
        && (padding == 0 || padding + unpadded % 4 == 4)
}
