//! What etcd's errors mean to the layers above.

use etcd_client::Error as EtcdError;
use sd_core::{Cause, Error, Gap, Invalid};
use std::{error::Error as _, sync::Arc};

/// The gRPC status codes that etcd answers with, by number, as `etcd-client` does not export their
/// type.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

fn status(error: &EtcdError) -> Option<(i32, &str)> {
    match error {
        EtcdError::GRpcStatus(status) => Some((status.code() as i32, status.message())),
        _ => None,
    }
}

/// Translates an error of `etcd-client`.
pub(crate) fn translate(error: EtcdError) -> Error {
    let message = with_causes(&error);
    translate_as(error, message)
}

/// Like [`translate`], for what is the fault of the member at `endpoint` or of the way there: an
/// operator has to know where to look.
pub(crate) fn translate_from(endpoint: &str, error: EtcdError) -> Error {
    let message = format!("{endpoint}: {}", with_causes(&error));
    translate_as(error, message)
}

fn translate_as(error: EtcdError, message: String) -> Error {
    let code = status(&error).map(|(code, _)| code);
    let invalid = matches!(
        error,
        EtcdError::InvalidArgs(_) | EtcdError::InvalidUri(_) | EtcdError::EndpointError(_)
    );
    let source: Option<Cause> = Some(Arc::new(error));
    if invalid {
        return Invalid::Config(message).into();
    }
    match code {
        Some(code::PERMISSION_DENIED) => Error::PermissionDenied { message, source },
        Some(code::UNAUTHENTICATED) => Error::Backend {
            // An expired token: the next connection authenticates anew.
            transient: true,
            message,
            source,
        },
        Some(code::RESOURCE_EXHAUSTED) => Error::Exhausted { message, source },
        Some(code::INVALID_ARGUMENT | code::FAILED_PRECONDITION)
            if message.contains("authentication") || message.contains("user name") =>
        {
            Error::Unauthenticated { message, source }
        }
        Some(
            code::INVALID_ARGUMENT
            | code::NOT_FOUND
            | code::FAILED_PRECONDITION
            | code::OUT_OF_RANGE
            | code::UNIMPLEMENTED,
        ) => Error::Backend {
            transient: false,
            message,
            source,
        },
        // Everything else is the transport's: `Unavailable`, but also `Unknown` after a server's
        // restart (etcd 3.4 to 3.7), `Internal` for a broken stream, `Cancelled`.
        _ => Error::Unavailable { message, source },
    }
}

/// Like [`translate`], for the reason that a watch was cancelled with.
pub(crate) fn cancelled(reason: &str) -> Error {
    let message = reason.to_owned();
    let source = None;
    if reason.contains("permission denied") {
        Error::PermissionDenied { message, source }
    } else {
        Error::Unavailable { message, source }
    }
}

/// The whole chain in one line: a transport error says "transport error" or "tcp connect error"
/// and hides why.
fn with_causes(error: &EtcdError) -> String {
    let (mut message, mut cause) = match error {
        EtcdError::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        EtcdError::TransportError(inner) => (error.to_string(), inner.source()),
        other => (other.to_string(), None),
    };
    while let Some(inner) = cause {
        let why = inner.to_string();
        // A status has the text of one of its causes already.
        if !message.contains(&why) {
            message = format!("{message}: {why}");
        }
        cause = inner.source();
    }
    message
}

/// Whether the lease that a call named is gone.
pub(crate) fn is_lease_not_found(error: &EtcdError) -> bool {
    match error {
        // What `etcd-client` makes of a first keep-alive that is answered with a TTL of 0.
        EtcdError::LeaseKeepAliveError(message) => message == "lease not found",
        _ => status(error).is_some_and(|(code, message)| {
            code == code::NOT_FOUND && message.contains("lease not found")
        }),
    }
}

/// Whether the answer was larger than this client reads, or the server sends.
pub(crate) fn is_too_large(error: &EtcdError) -> bool {
    status(error).is_some_and(|(_, message)| {
        message.contains("message length too large") || message.contains("larger than max")
    })
}

/// Whether a read at an old revision failed because the history is not the one we knew.
pub(crate) fn gap(error: &EtcdError) -> Option<Gap> {
    match status(error) {
        Some((code::OUT_OF_RANGE, message)) if message.contains("compacted") => {
            Some(Gap::Compacted)
        }
        Some((code::OUT_OF_RANGE, message)) if message.contains("future revision") => Some(
            Gap::Rebuilt("it has not reached the revision that we know".into()),
        ),
        _ => None,
    }
}

/// Whether another member, or a new connection, may do better.
pub(crate) fn blames_the_member(error: &EtcdError) -> bool {
    match error {
        EtcdError::GRpcStatus(_) if is_too_large(error) => false,
        EtcdError::GRpcStatus(status) => !matches!(
            status.code() as i32,
            code::INVALID_ARGUMENT
                | code::NOT_FOUND
                | code::PERMISSION_DENIED
                | code::RESOURCE_EXHAUSTED
                | code::FAILED_PRECONDITION
                | code::OUT_OF_RANGE
                | code::UNIMPLEMENTED
        ),
        EtcdError::InvalidArgs(_) => false,
        EtcdError::LeaseKeepAliveError(_) => !is_lease_not_found(error),
        _ => true,
    }
}
