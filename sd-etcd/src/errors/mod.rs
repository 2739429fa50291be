//! What etcd's errors mean to the layers above.
//!
//! - `classify` asks questions of an error: is the lease gone, is the member at fault?
//! - `translate` makes an [`sd_core::Error`] of it, with all its causes in one line.
//! - `advice` adds what the operator has to check.
//!
//! A wrong password or a missing right is permanent: every member answers the same until somebody
//! acts, so `register` and `ready` return it at once. A failed TLS handshake is transient, although
//! it often stays: it concerns one member, whose neighbours may have good certificates while they
//! are rotated, and a provider that gave up would be gone for good. Errors and status say what to
//! check meanwhile. The client's own certificates are checked before anything is sent.
//!
//! This room imports none of the others.

mod advice;
mod classify;
#[cfg(test)]
mod tests;
mod translate;

pub(crate) use classify::{
    denies_watch, gap, is_answer, is_auth_disabled, is_lease_exists, is_lease_not_found,
    is_member_fault, is_refused, is_token_refused, is_too_large, wants_token,
};
#[cfg(feature = "tls")]
pub(crate) use translate::with_all_causes;
pub(crate) use translate::{
    broken, broken_answer, contended, invalid_config, translate, translate_at,
    translate_cancel_reason, translate_refused,
};
