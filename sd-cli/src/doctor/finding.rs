//! A finding: what is wrong, where, and what to do.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Nothing is wrong yet.
    Note,
    /// Something does not work as somebody means it to.
    Warning,
    /// Something does not work.
    Error,
}

impl Severity {
    /// The exit status of `sdctl doctor`, if this is the worst. 1 and 2 are those of failures and of wrong arguments.
    pub(crate) fn exit_status(self) -> u8 {
        match self {
            Self::Note => 0,
            Self::Warning => 3,
            Self::Error => 4,
        }
    }
}

/// What is wrong, where, and what to do.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// What was looked at: a word that stays the same.
    pub(crate) check: &'static str,
    /// A member, a service or a key.
    pub(crate) subject: String,
    pub(crate) message: String,
    pub(crate) advice: String,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            check,
            subject: subject.into(),
            message: message.into(),
            advice: advice.into(),
        }
    }
}
