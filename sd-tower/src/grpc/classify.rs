//! What gRPC's codes, HTTP/2's and the errors of connections say.

use crate::call::chain;
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
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_user()
        {
            return Code::Unknown;
        }
    }
    Code::Unavailable
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
