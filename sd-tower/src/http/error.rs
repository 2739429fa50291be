//! Why there is no response, or not all of it.

use crate::call::{AttemptError, RequestBodyError};
use sd_core::{AttemptError as Failed, BoxError, ErrorChain, Escaped, RetryError};
use std::{error::Error as StdError, fmt, time::Duration};

/// Why there is no response, or not all of its body.
///
/// In the chain of its sources are, where they apply: [`RetryError`] with all attempts,
/// [`NoEndpoints`](sd_core::NoEndpoints), [`ConnectError`](crate::ConnectError), hyper's errors.
/// `Display` says it all in one line.
///
/// ```
/// use http::StatusCode;
/// use sd_tower::{HttpError, HttpErrorKind};
///
/// /// What a gateway answers.
/// fn status(error: &HttpError) -> StatusCode {
///     match error.kind() {
///         HttpErrorKind::InvalidRequest => StatusCode::BAD_REQUEST,
///         HttpErrorKind::UnknownService => StatusCode::NOT_FOUND,
///         HttpErrorKind::NoEndpoints => StatusCode::SERVICE_UNAVAILABLE,
///         HttpErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
///         _ => StatusCode::BAD_GATEWAY,
///     }
/// }
/// ```
#[derive(Debug)]
pub struct HttpError(Fault);

/// Why there is no response, or not all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpErrorKind {
    /// There is no endpoint to call.
    NoEndpoints,
    /// The time of the call is over, or the server has not answered.
    TimedOut,
    /// No endpoint could be connected to, or the connection broke. Whether something was executed
    /// [may be known](crate::nothing_executed).
    Connection,
    /// The caller's fault: the request cannot be sent, or its body has failed.
    InvalidRequest,
    /// [`HttpServices`](crate::HttpServices) has no service of this name.
    UnknownService,
}

#[derive(Debug)]
enum Fault {
    Call(Box<RetryError<AttemptError>>),
    Body(BoxError),
    TimedOut(Duration),
    InvalidRequest(BoxError),
    UnknownService(Box<str>, BoxError),
}

impl HttpError {
    pub(super) fn call(error: RetryError<AttemptError>) -> Self {
        Self(Fault::Call(Box::new(error)))
    }

    pub(super) fn body(error: BoxError) -> Self {
        Self(Fault::Body(error))
    }

    pub(super) fn timed_out(after: Duration) -> Self {
        Self(Fault::TimedOut(after))
    }

    pub(super) fn invalid_request(error: impl Into<BoxError>) -> Self {
        Self(Fault::InvalidRequest(error.into()))
    }

    pub(super) fn unknown_service(name: &str, error: BoxError) -> Self {
        Self(Fault::UnknownService(name.into(), error))
    }

    /// What it is about.
    pub fn kind(&self) -> HttpErrorKind {
        match &self.0 {
            Fault::Call(error) => match error.attempts().last().map(|last| &last.error) {
                Some(Failed::NoEndpoints(_)) => HttpErrorKind::NoEndpoints,
                Some(Failed::TimedOut { .. }) => HttpErrorKind::TimedOut,
                Some(Failed::Failed(failed)) if failed.is_timeout() => HttpErrorKind::TimedOut,
                Some(Failed::Failed(failed)) if failed.is_of_request_body() => {
                    HttpErrorKind::InvalidRequest
                }
                _ => HttpErrorKind::Connection,
            },
            Fault::Body(error) if error.is::<RequestBodyError>() => HttpErrorKind::InvalidRequest,
            Fault::Body(_) => HttpErrorKind::Connection,
            Fault::TimedOut(_) => HttpErrorKind::TimedOut,
            Fault::InvalidRequest(_) => HttpErrorKind::InvalidRequest,
            Fault::UnknownService(..) => HttpErrorKind::UnknownService,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::Call(error) => error.fmt(f),
            Fault::Body(error) => {
                write!(f, "the response has broken off: {}", ErrorChain(&**error))
            }
            Fault::TimedOut(after) => write!(f, "the call has not ended within {after:?}"),
            Fault::InvalidRequest(error) => {
                write!(f, "the request cannot be sent: {}", ErrorChain(&**error))
            }
            Fault::UnknownService(name, error) => {
                let name = Escaped(name);
                write!(f, "there is no service {name}: {}", ErrorChain(&**error))
            }
        }
    }
}

impl StdError for HttpError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0 {
            Fault::Call(error) => Some(&**error),
            Fault::Body(error) | Fault::InvalidRequest(error) | Fault::UnknownService(_, error) => {
                Some(&**error)
            }
            Fault::TimedOut(_) => None,
        }
    }
}
