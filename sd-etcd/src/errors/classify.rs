//! Questions about an error of etcd's.

use etcd_client::Error as EtcdError;
use sd_core::Gap;

/// The gRPC status codes that etcd answers with, as numbers: `etcd-client` does not export their
/// type.
pub(super) mod code {
    pub(in super::super) const UNKNOWN: i32 = 2;
    pub(in super::super) const INVALID_ARGUMENT: i32 = 3;
    pub(in super::super) const NOT_FOUND: i32 = 5;
    pub(in super::super) const PERMISSION_DENIED: i32 = 7;
    pub(in super::super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(in super::super) const FAILED_PRECONDITION: i32 = 9;
    pub(in super::super) const OUT_OF_RANGE: i32 = 11;
    pub(in super::super) const UNIMPLEMENTED: i32 = 12;
    pub(in super::super) const UNAVAILABLE: i32 = 14;
    pub(in super::super) const UNAUTHENTICATED: i32 = 16;
}

/// Returns the status code and the message, if etcd or the transport answered with a status.
pub(super) fn status(error: &EtcdError) -> Option<(i32, &str)> {
    let EtcdError::GRpcStatus(status) = error else {
        return None;
    };
    let message = status.message();
    let code = match status.code() as i32 {
        code::UNKNOWN => code_of(message).unwrap_or(code::UNKNOWN),
        code => code,
    };
    Some((code, message))
}

/// Returns the code that belongs to a message of etcd's. etcd's gRPC proxy passes on the message
/// alone: every code is `Unknown` (3.4.23 to 3.7.3).
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

// === questions about an error ===

/// Whether etcd does not allow this user the operation.
pub(crate) fn is_refused(error: &EtcdError) -> bool {
    status(error).is_some_and(|(code, message)| {
        code == code::PERMISSION_DENIED || says_user_missing(message)
    })
}

pub(crate) fn is_auth_disabled(error: &EtcdError) -> bool {
    status(error).is_some_and(|(_, message)| message.contains("authentication is not enabled"))
}

/// Whether a token has to be renewed: it has expired, or etcd requires a user by now.
pub(crate) fn wants_token(error: &EtcdError) -> bool {
    status(error)
        .is_some_and(|(_, message)| is_token_refused(message) || says_user_missing(message))
}

/// Whether etcd itself answered so, and not the way there.
pub(crate) fn is_answer(error: &EtcdError) -> bool {
    let says_etcd = |(_, message): (i32, &str)| message.starts_with("etcdserver: ");
    status(error).is_some_and(says_etcd) || !is_member_fault(error)
}

/// Whether the lease that a call named does not exist.
pub(crate) fn is_lease_not_found(error: &EtcdError) -> bool {
    match error {
        // `etcd-client` makes this of a first keep-alive that is answered with a TTL of 0.
        EtcdError::LeaseKeepAliveError(message) => message == "lease not found",
        _ => status(error).is_some_and(|(code, message)| {
            code == code::NOT_FOUND && message.contains("lease not found")
        }),
    }
}

pub(crate) fn is_lease_exists(error: &EtcdError) -> bool {
    status(error).is_some_and(|(code, message)| {
        code == code::FAILED_PRECONDITION && message.contains("lease already exists")
    })
}

/// Whether the answer was larger than this client reads, or than the server sends.
pub(crate) fn is_too_large(error: &EtcdError) -> bool {
    status(error).is_some_and(|(_, message)| says_too_large(message))
}

/// Returns the gap, if a read at an old revision failed because that revision is compacted or the
/// history is another one.
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

/// Whether another member, or a new connection to the same one, may succeed.
pub(crate) fn is_member_fault(error: &EtcdError) -> bool {
    match error {
        EtcdError::GRpcStatus(_) if is_too_large(error) => false,
        EtcdError::GRpcStatus(status)
            if is_token_refused(status.message()) || says_wrong_member(status.message()) =>
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

// === questions about a message ===

/// Whether etcd wants another token: this one has expired, or rights were changed since it was
/// issued (JWT).
pub(crate) fn is_token_refused(message: &str) -> bool {
    message.contains("invalid auth token") || message.contains("auth store is old")
}

/// Whether a watch is denied for a reason that may concern its stream alone: a stream keeps the
/// credentials that it was opened with.
pub(crate) fn denies_watch(reason: &str) -> bool {
    says_denied(reason) || is_token_refused(reason) || says_user_missing(reason)
}

pub(super) fn says_denied(message: &str) -> bool {
    message.contains("permission denied")
}

pub(super) fn says_user_missing(message: &str) -> bool {
    message.contains("user name is empty")
}

pub(super) fn says_wrong_member(message: &str) -> bool {
    message.contains("not leader") || message.contains("learner")
}

pub(super) fn says_too_large(message: &str) -> bool {
    message.contains("message length too large") || message.contains("larger than max")
}
