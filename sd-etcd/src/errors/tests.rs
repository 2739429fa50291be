use super::{classify::*, translate::*};
use crate::support::cases;
use etcd_client::Error as EtcdError;
use proptest::prelude::*;
use sd_core::{ErrorChain, Escaped};
use tonic::{Code, Status};

fn error(code: Code, message: &str) -> EtcdError {
    EtcdError::GRpcStatus(Status::new(code, message))
}

/// Whether the error is transient, and whether another member or a new connection is tried.
fn verdict(code: Code, message: &str) -> (bool, bool) {
    (
        translate(error(code, message)).is_transient(),
        is_member_fault(&error(code, message)),
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

/// As etcd words it (3.6.5; the last also 3.4.23).
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

/// As its causes are in its message, and etcd-client's own text would only repeat them.
#[test]
fn an_error_with_all_its_causes_is_said_once() {
    let long = "permission denied\n".repeat(10_000);
    for said in ["etcdserver: no space", &long] {
        for error in [
            translate(error(Code::Unknown, said)),
            translate_at("http://etcd:2379", true, error(Code::Unknown, said)),
            translate_refused(None, "list", error(Code::PermissionDenied, said)),
        ] {
            let line = ErrorChain(&error).to_string();
            assert_eq!(line, error.to_string());
            assert!(line.contains(&Escaped(said).to_string()), "{line}");
            assert!(line.len() < 600, "{line}");
        }
    }
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

/// Row 29: no authentication is begun at a member that answers nothing.
#[test]
fn an_answer_is_told_from_a_lost_connection() {
    for (code, message) in [
        (Code::Unauthenticated, "etcdserver: invalid auth token"),
        (Code::InvalidArgument, "etcdserver: user name is empty"),
        (Code::Unavailable, "etcdserver: no leader"),
        (Code::PermissionDenied, "no such method here"),
        (Code::Unimplemented, "unknown method Status"),
    ] {
        assert!(is_answer(&error(code, message)), "{message}");
    }
    for (code, message) in [
        (Code::Unavailable, "tcp connect error"),
        (Code::Unknown, "transport error"),
        (Code::Cancelled, "operation was canceled"),
    ] {
        assert!(!is_answer(&error(code, message)), "{message}");
    }
}

#[test]
fn a_token_is_wanted_where_it_has_expired_and_where_there_is_none() {
    for (code, message) in [
        (Code::Unauthenticated, "etcdserver: invalid auth token"),
        (Code::Unknown, "etcdserver: invalid auth token"),
        (
            Code::InvalidArgument,
            "etcdserver: revision of auth store is old",
        ),
        (Code::InvalidArgument, "etcdserver: user name is empty"),
    ] {
        assert!(wants_token(&error(code, message)), "{message}");
    }
    assert!(!wants_token(&error(
        Code::PermissionDenied,
        "etcdserver: permission denied"
    )));
}

#[test]
fn an_error_says_all_its_causes() {
    let cause = std::io::Error::other("invalid peer certificate");
    let status = Status::from_error(Box::new(cause));
    let message = translate(EtcdError::GRpcStatus(status)).to_string();
    assert!(message.contains("invalid peer certificate"), "{message}");
}

/// Messages of etcd's, and similar ones.
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
        prop_assert!(translated.to_string().contains(&Escaped(&message).to_string()));
        prop_assert!(std::error::Error::source(&translated).is_some());
        for is_new in [false, true] {
            let from = translate_at("etcd-1:2379", is_new, answer());
            prop_assert!(from.to_string().contains("etcd-1:2379"));
            prop_assert_eq!(from.is_transient(), translated.is_transient());
        }
        let is_gap = gap(&answer()).is_some();
        prop_assert!(!is_gap || number == code::OUT_OF_RANGE);
        prop_assert!(!(is_lease_not_found(&answer()) && is_lease_exists(&answer())));
        prop_assert!(translate_cancel_reason(&message).is_transient());
        let keep_alive = EtcdError::LeaseKeepAliveError(message.clone());
        prop_assert!(translate(keep_alive).is_transient());
    }

    /// With an unknown message, an error is transient only if another member may succeed or space may
    /// be freed.
    #[test]
    fn a_code_alone_says_enough(number in -1..20, message in "[0-9 ]{0,8}") {
        let (passes, is_members_fault) = verdict(Code::from(number), &message);
        let may_find_room = number == code::RESOURCE_EXHAUSTED;
        prop_assert_eq!(passes, is_members_fault || may_find_room);
    }
}
