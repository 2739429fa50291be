//! What etcd's errors mean to the layers above.
//!
//! A wrong password or a missing right is the same at every member and stays until somebody acts:
//! it cannot pass, so that `register` and `ready` say it at once. A TLS handshake that fails can
//! pass, as an outage does, although most do not: it is a matter between this client and one member,
//! whose neighbours may have good certificates, and a rotation is done one member after the other; a
//! provider that gave up on it would be gone for good. It is tried again as an outage is, the errors
//! and the status say what to check meanwhile, and so do `register_within` and `ready_within`. What
//! is wrong with the client's own certificates is found before anything is sent.

use crate::advice::{Stage, advice};
use etcd_client::Error as EtcdError;
use sd_core::{Cause, Error, Gap, Invalid};
use std::sync::Arc;

/// The gRPC status codes that etcd answers with, by number, as `etcd-client` does not export their
/// type.
mod code {
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

fn status(error: &EtcdError) -> Option<(i32, &str)> {
    match error {
        EtcdError::GRpcStatus(status) => {
            let message = status.message();
            let code = match status.code() as i32 {
                code::UNKNOWN => code_of(message).unwrap_or(code::UNKNOWN),
                code => code,
            };
            Some((code, message))
        }
        _ => None,
    }
}

/// The code that belongs to a message of etcd's, as its gRPC proxy passes on the message alone
/// (3.4.23 to 3.7.3: everything is `Unknown`).
fn code_of(message: &str) -> Option<i32> {
    let code = match message.strip_prefix("etcdserver: ")? {
        "mvcc: required revision has been compacted"
        | "mvcc: required revision is a future revision" => code::OUT_OF_RANGE,
        "mvcc: database space exceeded" | "too many requests" => code::RESOURCE_EXHAUSTED,
        "permission denied" => code::PERMISSION_DENIED,
        "invalid auth token" => code::UNAUTHENTICATED,
        "requested lease not found" => code::NOT_FOUND,
        "lease already exists" | "not leader" | "rpc not supported for learner" => {
            code::FAILED_PRECONDITION
        }
        "authentication failed, invalid user ID or password"
        | "user name is empty"
        | "revision of auth store is old"
        | "request is too large"
        | "too many operations in txn request"
        | "duplicate key given in txn request" => code::INVALID_ARGUMENT,
        _ => return None,
    };
    Some(code)
}

/// Translates an error of `etcd-client`.
pub(crate) fn translate(error: EtcdError) -> Error {
    let message = whole(&error);
    translate_as(error, message)
}

/// Like [`translate`], for what is the fault of the member at `endpoint` or of the way there: an
/// operator has to know where to look, and for what. `is_new` unless the connection had answered
/// something before.
pub(crate) fn translate_from(endpoint: &str, is_new: bool, error: EtcdError) -> Error {
    let causes = whole(&error);
    let stage = match status(&error) {
        Some((code::UNAVAILABLE, _)) => Stage::Connecting,
        _ if is_new => Stage::Connected,
        _ => Stage::Serving,
    };
    let message = match advice(endpoint, stage, &causes) {
        Some(advice) => format!("{endpoint}: {causes} ({advice})"),
        None => format!("{endpoint}: {causes}"),
    };
    translate_as(error, message)
}

/// Like [`translate`], for an `operation` that etcd refused to `user`; to the one whose certificate
/// is shown, or to nobody, if there is none.
pub(crate) fn translate_refused(user: Option<&str>, operation: &str, error: EtcdError) -> Error {
    let message = whole(&error);
    let advice = match user {
        _ if is_nobody(&message) => {
            "etcd serves users only: set `EtcdClientBuilder::user`".to_owned()
        }
        Some(user) => format!("check the roles of the user {user:?}"),
        None => "check the roles of the user whose certificate is shown".to_owned(),
    };
    translate_as(error, format!("{message} ({operation}: {advice})"))
}

fn translate_as(error: EtcdError, message: String) -> Error {
    let code = status(&error).map(|(code, _)| code);
    let invalid = matches!(
        error,
        // The last is a certificate or a key that cannot be read.
        EtcdError::InvalidArgs(_)
            | EtcdError::InvalidUri(_)
            | EtcdError::EndpointError(_)
            | EtcdError::TransportError(_)
    );
    let source: Option<Cause> = Some(Arc::new(error));
    if invalid {
        return Invalid::Config(message).into();
    }
    match code {
        Some(code::PERMISSION_DENIED) => Error::PermissionDenied { message, source },
        Some(code::UNAUTHENTICATED) => renewable(message, source),
        Some(code::INVALID_ARGUMENT) if is_token_refused(&message) => renewable(message, source),
        Some(code::FAILED_PRECONDITION) if is_wrong_member(&message) => {
            Error::Unavailable { message, source }
        }
        Some(code::RESOURCE_EXHAUSTED) if is_over_limit(&message) => Error::Backend {
            transient: false,
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

/// Of a token that was refused: the next connection authenticates anew.
fn renewable(message: String, source: Option<Cause>) -> Error {
    Error::Backend {
        message,
        transient: true,
        source,
    }
}

/// Somebody else changes one key again and again. Nothing that all who hang on this client suffer,
/// so it is not the registry that is unavailable.
pub(crate) fn contended(message: &str) -> Error {
    Error::Backend {
        message: message.into(),
        transient: true,
        source: None,
    }
}

/// Like [`translate`], for the reason that a watch was cancelled with.
pub(crate) fn cancelled(reason: &str) -> Error {
    let message = reason.to_owned();
    let source = None;
    if is_denied(reason) {
        Error::PermissionDenied { message, source }
    } else if is_token_refused(reason) {
        Error::Unavailable { message, source }
    } else {
        // The connection is good, and so may the other watches be.
        Error::Backend {
            message,
            transient: true,
            source,
        }
    }
}

/// The error and all that caused it.
fn whole(error: &EtcdError) -> String {
    match error {
        EtcdError::GRpcStatus(status) => with_causes(status.message(), status),
        EtcdError::TransportError(transport) => with_causes(&error.to_string(), transport),
        other => other.to_string(),
    }
}

/// The whole chain in one line: a transport error says "transport error" and hides why, such as a
/// certificate that nobody trusts.
fn with_causes(message: &str, error: &dyn std::error::Error) -> String {
    let mut message = message.to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_message = inner.to_string();
        // Each of the layers in between repeats the next, or says this.
        if inner_message != "transport error" && !message.contains(&inner_message) {
            let separator = if message.is_empty() { "" } else { ": " };
            message = format!("{message}{separator}{inner_message}");
        }
        cause = inner.source();
    }
    message
}

/// Whether etcd does not let this user do it.
pub(crate) fn is_refused(error: &EtcdError) -> bool {
    status(error)
        .is_some_and(|(code, message)| code == code::PERMISSION_DENIED || is_nobody(message))
}

/// Whether etcd has no users, and so none to authenticate.
pub(crate) fn has_no_users(error: &EtcdError) -> bool {
    status(error).is_some_and(|(_, message)| message.contains("authentication is not enabled"))
}

/// Whether etcd misses a user: it had none when the connection was made.
pub(crate) fn misses_user(error: &EtcdError) -> bool {
    status(error).is_some_and(|(_, message)| is_nobody(message))
}

/// Like [`translate_from`], for a connection that was made without the user that etcd wants by now:
/// the next has one.
pub(crate) fn translate_outdated(endpoint: &str, error: EtcdError) -> Error {
    let message = format!("{endpoint}: {}", whole(&error));
    renewable(message, Some(Arc::new(error)))
}

/// Whether etcd misses a user.
fn is_nobody(message: &str) -> bool {
    message.contains("user name is empty")
}

/// Whether etcd says that a right is missing.
pub(crate) fn is_denied(message: &str) -> bool {
    message.contains("permission denied")
}

/// Whether etcd wants another token: this one has expired, or rights were changed since it was
/// issued (JWT).
pub(crate) fn is_token_refused(message: &str) -> bool {
    message.contains("invalid auth token") || message.contains("auth store is old")
}

/// Whether a watch is denied for a reason that may be its stream's alone, which shows whom it was
/// opened by.
pub(crate) fn denies_watch(reason: &str) -> bool {
    is_denied(reason) || is_token_refused(reason) || is_nobody(reason)
}

/// Whether a member cannot serve what another can.
fn is_wrong_member(message: &str) -> bool {
    message.contains("not leader") || message.contains("learner")
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

/// Whether the lease that was to be granted is there already.
pub(crate) fn is_lease_exists(error: &EtcdError) -> bool {
    status(error).is_some_and(|(code, message)| {
        code == code::FAILED_PRECONDITION && message.contains("lease already exists")
    })
}

/// Whether the answer was larger than this client reads, or the server sends.
pub(crate) fn is_too_large(error: &EtcdError) -> bool {
    status(error).is_some_and(|(_, message)| is_over_limit(message))
}

fn is_over_limit(message: &str) -> bool {
    message.contains("message length too large") || message.contains("larger than max")
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
        EtcdError::GRpcStatus(status)
            if is_token_refused(status.message()) || is_wrong_member(status.message()) =>
        {
            true
        }
        EtcdError::GRpcStatus(_) => !matches!(
            status(error),
            Some((
                code::INVALID_ARGUMENT
                    | code::NOT_FOUND
                    | code::PERMISSION_DENIED
                    | code::RESOURCE_EXHAUSTED
                    | code::FAILED_PRECONDITION
                    | code::OUT_OF_RANGE
                    | code::UNIMPLEMENTED,
                _
            ))
        ),
        EtcdError::InvalidArgs(_) => false,
        EtcdError::LeaseKeepAliveError(_) => !is_lease_not_found(error),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::cases;
    use proptest::prelude::*;
    use tonic::{Code, Status};

    fn error(code: Code, message: &str) -> EtcdError {
        EtcdError::GRpcStatus(Status::new(code, message))
    }

    /// Whether it may pass, and whether another member or a new connection is to be tried.
    fn verdict(code: Code, message: &str) -> (bool, bool) {
        (
            translate(error(code, message)).is_transient(),
            blames_the_member(&error(code, message)),
        )
    }

    #[test]
    fn a_refused_token_is_renewed_on_a_new_connection() {
        for (code, message) in [
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
            ),
        ] {
            assert_eq!(verdict(code, message), (true, true), "{message}");
        }
    }

    /// In etcd's words (3.6.5; the last also on 3.4.23).
    #[test]
    fn a_watch_is_denied_for_want_of_a_right_of_a_token_and_of_a_user() {
        for reason in [
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
            "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old",
            "rpc error: code = InvalidArgument desc = etcdserver: user name is empty",
        ] {
            assert!(denies_watch(reason), "{reason}");
        }
        assert!(!denies_watch(
            "etcdserver: mvcc: required revision has been compacted"
        ));
    }

    #[test]
    fn a_member_that_cannot_serve_is_left() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: no leader"),
            (Code::Unknown, "transport error"),
            (Code::DataLoss, "etcdserver: corrupt cluster"),
            (Code::FailedPrecondition, "etcdserver: not leader"),
            (
                Code::FailedPrecondition,
                "etcdserver: rpc not supported for learner",
            ),
        ] {
            assert_eq!(verdict(code, message), (true, true), "{message}");
        }
    }

    #[test]
    fn what_every_member_would_refuse_is_not_tried_again() {
        for (code, message) in [
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
            ),
            (Code::InvalidArgument, "etcdserver: user name is empty"),
            (Code::PermissionDenied, "etcdserver: permission denied"),
            (Code::InvalidArgument, "etcdserver: request is too large"),
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (3 vs. 2)",
            ),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
            ),
        ] {
            assert_eq!(verdict(code, message), (false, false), "{message}");
        }
    }

    #[test]
    fn a_full_store_can_pass_but_no_member_is_to_blame() {
        for message in [
            "etcdserver: mvcc: database space exceeded",
            "etcdserver: too many requests",
        ] {
            assert_eq!(verdict(Code::ResourceExhausted, message), (true, false));
        }
    }

    /// etcd's proxy drops the codes.
    #[test]
    fn what_etcd_says_through_its_proxy_means_the_same() {
        for (code, message) in [
            (
                Code::OutOfRange,
                "mvcc: required revision has been compacted",
            ),
            (
                Code::OutOfRange,
                "mvcc: required revision is a future revision",
            ),
            (Code::ResourceExhausted, "mvcc: database space exceeded"),
            (Code::PermissionDenied, "permission denied"),
            (Code::Unauthenticated, "invalid auth token"),
            (Code::NotFound, "requested lease not found"),
            (Code::FailedPrecondition, "lease already exists"),
            (
                Code::InvalidArgument,
                "authentication failed, invalid user ID or password",
            ),
            (Code::InvalidArgument, "request is too large"),
            (Code::Unavailable, "no leader"),
        ] {
            let message = format!("etcdserver: {message}");
            let (direct, proxied) = (error(code, &message), error(Code::Unknown, &message));
            assert_eq!(verdict(code, &message), verdict(Code::Unknown, &message));
            assert_eq!(gap(&direct).is_some(), gap(&proxied).is_some());
            assert_eq!(is_refused(&direct), is_refused(&proxied));
            assert_eq!(is_lease_not_found(&direct), is_lease_not_found(&proxied));
            assert_eq!(is_lease_exists(&direct), is_lease_exists(&proxied));
            let kind = |error| std::mem::discriminant(&translate(error));
            assert_eq!(kind(direct), kind(proxied), "{message}");
        }
    }

    #[test]
    fn an_error_says_all_its_causes() {
        let cause = std::io::Error::other("invalid peer certificate");
        let status = Status::from_error(Box::new(cause));
        let message = translate(EtcdError::GRpcStatus(status)).to_string();
        assert!(message.contains("invalid peer certificate"), "{message}");
    }

    /// What etcd says, or nearly.
    fn message() -> impl Strategy<Value = String> {
        let phrase = prop::sample::select(vec![
            "etcdserver: invalid auth token",
            "auth store is old",
            "authentication failed",
            "user name is empty",
            "not leader",
            "learner",
            "message length too large",
            "larger than max",
            "compacted",
            "future revision",
            "lease not found",
            "lease already exists",
        ]);
        (".{0,8}", phrase, ".{0,8}").prop_map(|(before, phrase, after)| before + phrase + &after)
    }

    proptest! {
        #![proptest_config(cases(2))]

        #[test]
        fn every_error_keeps_what_was_said(number in -1..20, message in message()) {
            let answer = || error(Code::from(number), &message);
            let translated = translate(answer());
            prop_assert!(translated.to_string().contains(&message));
            prop_assert!(std::error::Error::source(&translated).is_some());
            for is_new in [false, true] {
                let from = translate_from("etcd-1:2379", is_new, answer());
                prop_assert!(from.to_string().contains("etcd-1:2379"));
                prop_assert_eq!(from.is_transient(), translated.is_transient());
            }
            let is_gap = gap(&answer()).is_some();
            prop_assert!(!is_gap || number == code::OUT_OF_RANGE);
            prop_assert!(!(is_lease_not_found(&answer()) && is_lease_exists(&answer())));
            prop_assert!(cancelled(&message).is_transient());
            let keep_alive = EtcdError::LeaseKeepAliveError(message.clone());
            prop_assert!(translate(keep_alive).is_transient());
        }

        /// A reason that is known to nobody can pass only where another member may do better, or
        /// room be made.
        #[test]
        fn a_code_alone_says_enough(number in -1..20, message in "[0-9 ]{0,8}") {
            let (passes, is_members_fault) = verdict(Code::from(number), &message);
            let may_find_room = number == code::RESOURCE_EXHAUSTED;
            prop_assert_eq!(passes, is_members_fault || may_find_room);
        }
    }
}
