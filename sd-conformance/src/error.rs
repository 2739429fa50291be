//! How a check ends early: a broken promise, or something missing that it needs.

use sd_core::{Error, ErrorChain, Invalid, WatchError};

/// The result of a check, or of a step of it.
pub(crate) type CheckResult<T = ()> = Result<T, CheckError>;

/// Why a check goes no further.
#[derive(Debug)]
pub(crate) enum CheckError {
    /// The promise is broken.
    Failed(String),
    /// The check cannot be run.
    NotRun(String),
}

impl From<Error> for CheckError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsupported { operation } => {
                Self::NotRun(format!("the backend does not support {operation}"))
            }
            error => Self::Failed(ErrorChain(&error).to_string()),
        }
    }
}

impl From<WatchError> for CheckError {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Interrupted(error @ Error::Unsupported { .. }) => error.into(),
            error => Self::Failed(ErrorChain(&error).to_string()),
        }
    }
}

impl From<Invalid> for CheckError {
    fn from(invalid: Invalid) -> Self {
        Self::Failed(format!("the harness's settings are invalid: {invalid}"))
    }
}

/// Fails the check, with a message, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::error::CheckError::Failed(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;
