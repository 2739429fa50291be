//! Errors for tests.

use crate::registry::Error;

/// An error that can pass.
pub(crate) fn down() -> Error {
    Error::unavailable("down")
}

/// An error that cannot.
pub(crate) fn denied() -> Error {
    Error::PermissionDenied {
        message: "no".into(),
        source: None,
    }
}
