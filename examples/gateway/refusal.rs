//! Refusals: what the gateway answers itself.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use sd_tower::{HttpError, HttpErrorKind};
use tonic::Status;

/// Why a request was not passed on, or has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    reason: String,
}

impl Refusal {
    /// There is nothing of this name.
    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        let (status, reason) = (StatusCode::NOT_FOUND, reason.into());
        Self { status, reason }
    }

    /// No service may be asked for that.
    pub(crate) fn not_allowed(reason: impl Into<String>) -> Self {
        let (status, reason) = (StatusCode::METHOD_NOT_ALLOWED, reason.into());
        Self { status, reason }
    }

    /// It cannot be called now.
    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        let (status, reason) = (StatusCode::SERVICE_UNAVAILABLE, reason.into());
        Self { status, reason }
    }

    /// The answer of a service breaks the protocol.
    pub(crate) fn bad_gateway(reason: impl Into<String>) -> Self {
        let (status, reason) = (StatusCode::BAD_GATEWAY, reason.into());
        Self { status, reason }
    }

    /// The service of this name gave no answer.
    pub(crate) fn no_answer(service: &str, error: &HttpError) -> Self {
        let status = match error.kind() {
            HttpErrorKind::NoEndpoints => StatusCode::SERVICE_UNAVAILABLE,
            HttpErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            HttpErrorKind::InvalidRequest => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        };
        let reason = format!("{service}: {error}");
        Self { status, reason }
    }

    /// The answer to an HTTP request.
    pub(crate) fn into_http(self) -> Response<Body> {
        let Self { status, reason } = self;
        let mut response = Response::new(Body::from(format!("{status}: {reason}\n")));
        *response.status_mut() = status;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        response
    }

    /// The answer to a gRPC request.
    pub(crate) fn into_grpc(self) -> Response<Body> {
        let status = match self.status {
            // As gRPC maps it.
            StatusCode::NOT_FOUND => Status::unimplemented(self.reason),
            _ => Status::unavailable(self.reason),
        };
        status.into_http()
    }
}
