//! Errors for tests.

use crate::registry::Error;

/// A transient error.
pub(crate) fn down() -> Error {
    Error::unavailable("down")
}

/// An error that is not transient.
pub(crate) fn denied() -> Error {
    Error::PermissionDenied {
        message: "no".into(),
        source: None,
    }
}
