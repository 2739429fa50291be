//! What became of an authentication.

use http::HeaderValue;
use sd_core::Error;

/// The result of an authentication.
#[derive(Clone)]
pub(super) enum Outcome {
    /// To the user of this name, this token.
    Granted(String, HeaderValue),
    /// etcd has authentication turned off.
    Disabled,
    /// etcd does not know the credentials of the user of this name.
    Refused(String, Error),
    Failed {
        error: Error,
        is_member_fault: bool,
        /// etcd may have spent its time on it, or the source of credentials failed.
        was_asked: bool,
    },
}
