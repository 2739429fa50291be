//! How a check ends before its end.

use sd_core::{Error, Invalid, WatchError};
use std::error::Error as StdError;

/// What a check, or a step of it, comes to.
pub(super) type Outcome<T = ()> = Result<T, Stop>;

/// Why a check goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// The promise is broken.
    Broken(String),
    /// The check cannot be run.
    NotRun(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsupported { operation } => {
                Self::NotRun(format!("the backend does not support {operation}"))
            }
            error => Self::Broken(chain(&error)),
        }
    }
}

impl From<WatchError> for Stop {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Interrupted(error @ Error::Unsupported { .. }) => error.into(),
            error => Self::Broken(chain(&error)),
        }
    }
}

impl From<Invalid> for Stop {
    fn from(invalid: Invalid) -> Self {
        Self::Broken(format!("the harness's settings do not do: {invalid}"))
    }
}

/// The error and all that caused it.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

/// Ends the check as broken, with a message, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::stop::Stop::Broken(format!($($message)+)));
        }
    };
}
pub(super) use ensure;
