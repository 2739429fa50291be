//! The value of an entry: the one that the owner wants, and the one that the registry has.

use crate::registry::Error;
use bytes::Bytes;

/// The wanted value, whether it was written, and the value that the registry has.
pub(super) struct Value {
    /// The value to write.
    pub(super) wanted: Bytes,
    /// The value that the registry has confirmed last.
    pub(super) written: Option<Bytes>,
    /// Whether the registry may have another value than `written`, since a write was not answered.
    pub(super) uncertain: bool,
    /// The error for the owner's newest value, if it was given up or will not be written soon.
    pub(super) refused: Option<Error>,
    /// Whether the owner's newest value was given up, and `wanted` is the one before.
    given_up: bool,
}

impl Value {
    /// A value to write.
    pub(super) fn new(wanted: Bytes) -> Self {
        Self {
            wanted,
            written: None,
            uncertain: false,
            refused: None,
            given_up: false,
        }
    }

    /// The owner wants another value.
    pub(super) fn want(&mut self, value: Bytes) {
        self.wanted = value;
        self.refused = None;
        self.given_up = false;
    }

    /// The registry has confirmed the value `sent`.
    pub(super) fn confirm(&mut self, sent: Bytes) {
        self.written = Some(sent);
        self.uncertain = false;
    }

    /// Forgets an earlier refusal of the newest value if that is written by now.
    pub(super) fn clear_refusal(&mut self) {
        if self.is_written() && !self.given_up {
            self.refused = None;
        }
    }

    /// A write has failed. The error is kept for the owner only if the `newest` value was sent and
    /// the error cannot pass.
    pub(super) fn refuse(&mut self, error: Error, newest: bool) {
        if !self.given_up {
            self.refused = (newest && !error.is_transient()).then_some(error);
        }
    }

    /// Whether the registry has the wanted value.
    pub(super) fn is_written(&self) -> bool {
        self.is_current(&self.wanted)
    }

    /// Whether the registry has `value`, as far as is known.
    pub(super) fn is_current(&self, value: &Bytes) -> bool {
        !self.uncertain && self.written.as_ref() == Some(value)
    }

    /// Goes back to the value written last if the registry can never accept the wanted one, which
    /// must not keep the entry away. Whether it did.
    pub(super) fn give_up_if_unacceptable(&mut self, error: &Error) -> bool {
        if let Some(written) = &self.written
            && *written != self.wanted
            && is_unacceptable(error)
        {
            self.wanted = written.clone();
            self.given_up = true;
            self.refused = Some(error.clone());
            return true;
        }
        false
    }
}

/// Whether the error is the fault of the value, not of the moment or of missing rights.
pub(super) fn is_unacceptable(error: &Error) -> bool {
    matches!(error, Error::Invalid(_) | Error::Unsupported { .. })
}
