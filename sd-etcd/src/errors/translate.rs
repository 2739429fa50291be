//! Errors of `etcd-client` as errors of `sd-core`.

use super::{
    advice::{Stage, advice},
    classify::{
        code, is_token_refused, says_denied, says_too_large, says_user_missing, says_wrong_member,
        status,
    },
};
use etcd_client::Error as EtcdError;
use sd_core::{Cause, Error, Escaped, Invalid};
use std::{fmt, sync::Arc};

/// Translates an error that concerns the request.
pub(crate) fn translate(error: EtcdError) -> Error {
    let message = Escaped(with_all_causes(&error)).to_string();
    translate_as(error, message)
}

/// Translates an error that concerns the member at `endpoint` or the connection to it. Adds the
/// endpoint and what to check there. `is_new` says that the connection has answered nothing yet.
pub(crate) fn translate_at(endpoint: &str, is_new: bool, error: EtcdError) -> Error {
    let causes = with_all_causes(&error);
    let stage = match status(&error) {
        Some((code::UNAVAILABLE, _)) => Stage::Connecting,
        None if matches!(error, EtcdError::TransportError(_)) => Stage::Connecting,
        _ if is_new => Stage::Connected,
        _ => Stage::Serving,
    };
    let advice = advice(endpoint, stage, &causes);
    let (endpoint, causes) = (Escaped(endpoint), Escaped(causes));
    let message = match advice {
        Some(advice) => format!("{endpoint}: {causes} ({advice})"),
        None => format!("{endpoint}: {causes}"),
    };
    translate_as(error, message)
}

/// Translates the refusal of `operation`. `user` is the configured one; without it etcd knows the
/// client by its certificate, or not at all.
pub(crate) fn translate_refused(user: Option<&str>, operation: &str, error: EtcdError) -> Error {
    let message = with_all_causes(&error);
    let advice = match user {
        _ if says_user_missing(&message) => {
            "etcd serves users only: set `EtcdClientBuilder::user`".to_owned()
        }
        Some(user) => format!("check the roles of the user {user:?}"),
        None => "check the roles of the user whose certificate is shown".to_owned(),
    };
    let message = format!("{} ({operation}: {advice})", Escaped(message));
    translate_as(error, message)
}

pub(crate) fn translate_cancel_reason(reason: &str) -> Error {
    let message = Escaped(reason).to_string();
    let source = None;
    if says_denied(reason) {
        Error::PermissionDenied { message, source }
    } else if is_token_refused(reason) {
        Error::Unavailable { message, source }
    } else {
        // The connection works, and the other watches may too.
        transient(message, source)
    }
}

/// Returns the error for what no etcd sends, such as `what`.
pub(crate) fn broken(what: &str) -> Error {
    transient(says_broken(what), None)
}

/// The same in answer to a request. It is a fault of the member.
pub(crate) fn broken_answer(what: &str) -> EtcdError {
    EtcdError::GRpcStatus(tonic::Status::data_loss(says_broken(what)))
}

fn says_broken(what: &str) -> String {
    format!("broken: etcd sent {what}")
}

/// Returns the error for a key that somebody else changes again and again. The registry is not
/// unavailable, so other users of the client are not affected.
pub(crate) fn contended(message: &str) -> Error {
    transient(message.into(), None)
}

pub(crate) fn invalid_config(message: impl Into<String>) -> Error {
    Invalid::Config(message.into()).into()
}

fn translate_as(error: EtcdError, message: String) -> Error {
    let code = status(&error).map(|(code, _)| code);
    let is_invalid = matches!(
        error,
        EtcdError::InvalidArgs(_) | EtcdError::InvalidUri(_) | EtcdError::EndpointError(_)
    );
    if is_invalid {
        return invalid_config(message);
    }
    let source = Some(Told::cause(error));
    match code {
        Some(code::PERMISSION_DENIED) => Error::PermissionDenied { message, source },
        // A new token was refused too.
        Some(code::UNAUTHENTICATED) => transient(message, source),
        Some(code::INVALID_ARGUMENT) if is_token_refused(&message) => transient(message, source),
        Some(code::FAILED_PRECONDITION) if says_wrong_member(&message) => {
            Error::Unavailable { message, source }
        }
        Some(code::RESOURCE_EXHAUSTED) if says_too_large(&message) => permanent(message, source),
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
        ) => permanent(message, source),
        // The transport's: `Unavailable`, but also `Unknown` after a restart of the server (3.4 to
        // 3.7), `Internal` for a broken stream, `Cancelled`.
        _ => Error::Unavailable { message, source },
    }
}

/// An error of etcd's as the source of one that has told all of it. It is written the same way, as
/// whoever writes an error with its causes leaves out what it has written already.
#[derive(Debug)]
struct Told(EtcdError);

impl Told {
    fn cause(error: EtcdError) -> Cause {
        Arc::new(Self(error))
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(with_all_causes(&self.0)).fmt(f)
    }
}

impl std::error::Error for Told {}

fn transient(message: String, source: Option<Cause>) -> Error {
    Error::Backend {
        message,
        transient: true,
        source,
    }
}

fn permanent(message: String, source: Option<Cause>) -> Error {
    Error::Backend {
        message,
        transient: false,
        source,
    }
}

/// Returns the error and its causes in one line. A transport error says "transport error" and hides
/// why, such as a certificate that is not trusted.
pub(crate) fn with_all_causes(error: &EtcdError) -> String {
    match error {
        EtcdError::GRpcStatus(status) => with_causes(status.message(), status),
        EtcdError::TransportError(transport) => with_causes(&error.to_string(), transport),
        other => other.to_string(),
    }
}

fn with_causes(message: &str, error: &dyn std::error::Error) -> String {
    let mut message = message.to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_message = inner.to_string();
        // The layers in between repeat the next one, or say this.
        if inner_message != "transport error" && !message.contains(&inner_message) {
            let separator = if message.is_empty() { "" } else { ": " };
            message = format!("{message}{separator}{inner_message}");
        }
        cause = inner.source();
    }
    message
}
