//! What gRPC's codes, HTTP/2's and the errors of connections say.

use crate::call::{RequestBodyError, chain};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};
use sd_core::{ErrorChain, Outcome};
use std::error::Error as StdError;
use tonic::{Code, Status};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a code that a server answered says about it.
pub(super) fn outcome_of(code: Code) -> Outcome {
    match code {
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented => Outcome::Success,
        Code::Unavailable | Code::Internal | Code::Unknown | Code::DataLoss => Outcome::Failure,
        Code::ResourceExhausted => Outcome::Overloaded,
        Code::DeadlineExceeded => Outcome::TimedOut,
        Code::Cancelled => Outcome::Cancelled,
    }
}

/// The code in the head of a response, if it has one: its trailers, if there is no body, or what
/// [stands for] another HTTP status than 200, which a proxy answers.
///
/// [stands for]: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
pub(super) fn code_of_head(response: &response::Parts) -> Option<Code> {
    if let Some(code) = code_of(&response.headers) {
        return Some(code);
    }
    Some(match response.status {
        StatusCode::OK => return None,
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    })
}

/// The code in these trailers.
pub(super) fn code_of(trailers: &HeaderMap) -> Option<Code> {
    Some(Code::from_bytes(trailers.get(STATUS)?.as_bytes()))
}

/// Writes another status into trailers.
pub(super) fn set_status(trailers: &mut HeaderMap, code: Code, message: &'static str) {
    trailers.insert(STATUS, HeaderValue::from(code as i32));
    trailers.insert(MESSAGE, HeaderValue::from_static(message));
}

/// The code of a call whose connection broke off with `error`.
///
/// tonic's own mapping is not used: it depends on which of its features are on, and says `Cancelled`
/// for connections that close.
pub(super) fn code_of_broken(error: &(dyn StdError + 'static)) -> Code {
    if crate::nothing_executed(error) {
        return Code::Unavailable;
    }
    for error in chain(error) {
        if let Some(status) = error.downcast_ref::<Status>() {
            return status.code();
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return code_of_h2(error);
        }
    }
    match chain(error).any(|error| error.is::<RequestBodyError>()) {
        true => Code::Unknown,
        false => Code::Unavailable,
    }
}

/// As gRPC [maps] HTTP/2's errors.
///
/// [maps]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors
fn code_of_h2(error: &h2::Error) -> Code {
    use h2::Reason;

    if error.is_go_away() || error.is_io() {
        return Code::Unavailable;
    }
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(Reason::STREAM_CLOSED) => Code::Unknown,
        _ => Code::Internal,
    }
}

/// The status of a body that broke off with `error`.
pub(super) fn status_of_broken(error: sd_core::BoxError) -> Status {
    let code = code_of_broken(&*error);
    let mut status = Status::new(code, ErrorChain(&*error).to_string());
    status.set_source(error.into());
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connection, RequestBody};
    use http::Response;
    use std::{fmt, io};

    /// An error around another one.
    #[derive(Debug)]
    struct Around(sd_core::BoxError);

    impl fmt::Display for Around {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("around")
        }
    }

    impl StdError for Around {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn each_code_says_how_the_endpoint_did() {
        for code in 0..17 {
            let code = Code::from_i32(code);
            let expected = match code {
                Code::Unavailable | Code::Internal | Code::Unknown | Code::DataLoss => {
                    Outcome::Failure
                }
                Code::ResourceExhausted => Outcome::Overloaded,
                Code::DeadlineExceeded => Outcome::TimedOut,
                Code::Cancelled => Outcome::Cancelled,
                _ => Outcome::Success,
            };
            assert_eq!(outcome_of(code), expected, "{code:?}");
        }
    }

    #[test]
    fn an_http_status_stands_for_a_code_where_there_is_none() {
        let code = |status: u16, code: Option<&'static str>| {
            let (mut response, ()) = Response::new(()).into_parts();
            response.status = status.try_into().unwrap();
            if let Some(code) = code {
                response
                    .headers
                    .insert(STATUS, HeaderValue::from_static(code));
            }
            code_of_head(&response)
        };
        for (status, expected) in [
            (200, None),
            (400, Some(Code::Internal)),
            (401, Some(Code::Unauthenticated)),
            (403, Some(Code::PermissionDenied)),
            (404, Some(Code::Unimplemented)),
            (429, Some(Code::Unavailable)),
            (502, Some(Code::Unavailable)),
            (503, Some(Code::Unavailable)),
            (504, Some(Code::Unavailable)),
            (204, Some(Code::Unknown)),
            (500, Some(Code::Unknown)),
        ] {
            assert_eq!(code(status, None), expected, "{status}");
            assert_eq!(code(status, Some("5")), Some(Code::NotFound), "{status}");
        }
        assert_eq!(code(200, Some("no number")), Some(Code::Unknown));
        assert_eq!(code(200, Some("17")), Some(Code::Unknown));
    }

    #[test]
    fn what_broke_a_call_off_says_its_code() {
        let h2 = |reason: h2::Reason| sd_core::BoxError::from(h2::Error::from(reason));
        let of_the_body = |error| sd_core::BoxError::from(RequestBodyError::new(error));
        let no_address = Connection::<RequestBody>::new("", Default::default(), Default::default());
        for (error, expected) in [
            (no_address.unwrap_err().into(), Code::Unavailable),
            (
                io::Error::from(io::ErrorKind::BrokenPipe).into(),
                Code::Unavailable,
            ),
            ("anything".into(), Code::Unavailable),
            (Status::data_loss("lost").into(), Code::DataLoss),
            (h2(h2::Reason::REFUSED_STREAM), Code::Unavailable),
            (h2(h2::Reason::CANCEL), Code::Cancelled),
            (h2(h2::Reason::ENHANCE_YOUR_CALM), Code::ResourceExhausted),
            (h2(h2::Reason::INADEQUATE_SECURITY), Code::PermissionDenied),
            (h2(h2::Reason::STREAM_CLOSED), Code::Unknown),
            (h2(h2::Reason::NO_ERROR), Code::Internal),
            (h2(h2::Reason::PROTOCOL_ERROR), Code::Internal),
            (of_the_body("out of ink".into()), Code::Unknown),
            (
                of_the_body(Status::out_of_range("long").into()),
                Code::OutOfRange,
            ),
            (of_the_body(h2(h2::Reason::CANCEL)), Code::Cancelled),
        ] {
            assert_eq!(code_of_broken(&*error), expected, "{error:?}");
            let around = Around(error);
            assert_eq!(code_of_broken(&around), expected, "{around:?}");
        }
    }

    #[test]
    fn the_status_of_a_broken_body_keeps_its_causes() {
        let status = status_of_broken(Box::new(Around("the cable".into())));
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.message(), "around: the cable");
        let source = status.source().unwrap().source().unwrap();
        assert_eq!(source.to_string(), "the cable");
    }
}
