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
use tonic::{Code, Status, metadata::MetadataMap};

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

    fn prepare_attempt(headers: &mut HeaderMap, executed: u32, left: Option<Duration>) {
        if let Some(left) = left {
            headers.insert(timeout_header::NAME, timeout_header::format(left));
        }
        if executed > 0 {
            headers.insert(PREVIOUS_ATTEMPTS, HeaderValue::from(executed));
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

    fn code_of_end(trailers: &HeaderMap) -> Option<Code> {
        code_of(trailers)
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

    fn timed_out(after: Duration) -> Status {
        Status::deadline_exceeded(format!("the call has not ended within {after:?}"))
    }

    fn call_error(error: RetryError<AttemptError>, is_late: bool) -> Status {
        let code = match error.attempts().last().map(|last| &last.error) {
            Some(Failed::TimedOut { .. }) => Code::DeadlineExceeded,
            // It waited for one as long as it could.
            Some(Failed::NoEndpoints(_)) if is_late => Code::DeadlineExceeded,
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

/// Whether tonic can decode it.
fn is_base64(value: &HeaderValue) -> bool {
    let header = (DETAILS, value.clone());
    let metadata = MetadataMap::from_headers(HeaderMap::from_iter([header]));
    let value = metadata.get_bin(DETAILS.as_str());
    value.is_some_and(|value| value.to_bytes().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use std::panic::catch_unwind;

    fn headers<const N: usize>(of: [(&str, &str); N]) -> HeaderMap {
        let header = |(name, value): (&str, &str)| {
            let name = HeaderName::try_from(name).unwrap();
            (name, HeaderValue::try_from(value).unwrap())
        };
        of.map(header).into_iter().collect()
    }

    fn answer(status: u16, headers: HeaderMap, is_complete: bool) -> Answer<Code> {
        let (request, ()) = Request::new(()).into_parts();
        let (mut response, ()) = Response::new(()).into_parts();
        response.status = status.try_into().unwrap();
        response.headers = headers;
        Grpc::default().judge(&request, &response, is_complete)
    }

    #[test]
    fn a_status_is_read_from_the_head_or_else_from_the_trailers() {
        let unavailable = || headers([("grpc-status", "14")]);
        let trailers_only = answer(200, unavailable(), true);
        assert_eq!(trailers_only.code, Some(Code::Unavailable));
        assert_eq!(trailers_only.outcome, Some(Outcome::Failure));

        let of_a_stream = answer(200, HeaderMap::new(), false);
        assert_eq!((of_a_stream.code, of_a_stream.outcome), (None, None));
        assert_eq!(Grpc::judge_end(Some(&unavailable())), Outcome::Failure);
        let ok = headers([("grpc-status", "0")]);
        assert_eq!(Grpc::judge_end(Some(&ok)), Outcome::Success);

        let without = answer(200, HeaderMap::new(), true);
        assert_eq!(
            (without.code, without.outcome),
            (None, Some(Outcome::Failure))
        );
        assert_eq!(Grpc::judge_end(Some(&HeaderMap::new())), Outcome::Failure);
        assert_eq!(Grpc::judge_end(None), Outcome::Failure);
    }

    #[test]
    fn pushback_is_a_number_of_milliseconds_or_means_never() {
        use Pushback::{After, Never};
        for (text, expected) in [
            ("0", After(Duration::ZERO)),
            ("1500", After(Duration::from_millis(1500))),
            ("-1", Never),
            ("", Never),
            ("soon", Never),
            ("4294967296", Never),
            ("1.5", Never),
        ] {
            let headers = headers([("grpc-status", "14"), (PUSHBACK.as_str(), text)]);
            assert_eq!(answer(200, headers, true).pushback, expected, "{text}");
        }
        let silent = headers([("grpc-status", "14")]);
        assert_eq!(answer(200, silent, true).pushback, Pushback::None);
    }

    #[test]
    fn a_call_that_a_server_cancels_at_the_deadline_has_exceeded_it() {
        for (code, is_late, expected) in [
            (Code::Cancelled, true, Code::DeadlineExceeded),
            (Code::Cancelled, false, Code::Cancelled),
            (Code::Ok, true, Code::Ok),
            (Code::Internal, true, Code::Internal),
        ] {
            let number = (code as i32).to_string();
            let mut trailers = headers([("grpc-status", &number), ("grpc-message", "x")]);
            Grpc::repair(&mut trailers, is_late);
            let status = Status::from_header_map(&trailers).unwrap();
            assert_eq!(status.code(), expected, "{code:?} {is_late}");
            assert_eq!(status.message() == "x", code == expected);
        }
    }

    #[test]
    fn details_that_tonic_would_panic_at_are_removed_and_others_kept() {
        let details = |text: &str| {
            let mut trailers = headers([("grpc-status", "3"), (DETAILS.as_str(), text)]);
            Grpc::repair(&mut trailers, false);
            trailers
        };
        for kept in ["", "QQ", "QQ==", "QUI", "QUI=", "QUJD", "+/+/"] {
            let trailers = details(kept);
            assert_eq!(trailers.get(DETAILS).unwrap(), kept);
            Status::from_header_map(&trailers).unwrap();
        }
        // Of the last one the last bits belong to no byte.
        for removed in [
            "Q",
            "Q===",
            "QQ!",
            "not base64",
            "-_-_",
            "QUJDR",
            "QR",
            "QR==",
        ] {
            let hostile = headers([("grpc-status", "3"), (DETAILS.as_str(), removed)]);
            catch_unwind(|| Status::from_header_map(&hostile)).unwrap_err();
            let trailers = details(removed);
            assert_eq!(trailers.get(DETAILS), None, "{removed}");
            let status = Status::from_header_map(&trailers).unwrap();
            assert_eq!(status.code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn attempts_say_how_many_servers_have_seen_before_them_and_what_time_is_left() {
        let mut attempt = HeaderMap::new();
        Grpc::prepare_attempt(&mut attempt, 0, None);
        assert_eq!(attempt, HeaderMap::new());
        Grpc::prepare_attempt(&mut attempt, 2, Some(Duration::from_millis(250)));
        let expected = headers([
            (PREVIOUS_ATTEMPTS.as_str(), "2"),
            ("grpc-timeout", "250000u"),
        ]);
        assert_eq!(attempt, expected);
    }

    #[test]
    fn a_stream_that_a_server_resets_is_its_failure() {
        let broken = |reason: h2::Reason| Grpc::body_error(h2::Error::from(reason).into());
        let (outcome, status) = broken(h2::Reason::CANCEL);
        assert_eq!(
            (outcome, status.code()),
            (Outcome::Failure, Code::Cancelled)
        );
        let (outcome, status) = broken(h2::Reason::ENHANCE_YOUR_CALM);
        assert_eq!(
            (outcome, status.code()),
            (Outcome::Overloaded, Code::ResourceExhausted)
        );
    }
}
