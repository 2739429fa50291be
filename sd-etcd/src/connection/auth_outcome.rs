//! What became of an authentication.

use crate::config::User;
use http::HeaderValue;
use sd_core::Error;

/// The result of an authentication.
#[derive(Clone)]
pub(super) enum Outcome {
    Granted(User, HeaderValue),
    /// etcd has authentication turned off.
    Disabled,
    /// etcd does not know these credentials.
    Refused(User, Error),
    Failed {
        error: Error,
        is_member_fault: bool,
        /// etcd may have spent its time on it, or the source of credentials failed.
        was_asked: bool,
    },
}
