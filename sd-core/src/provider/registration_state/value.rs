//! The value of an entry: what is to stand, and what does.

use crate::registry::Error;
use bytes::Bytes;

/// What the owner wants to stand, what became of it, and what stands instead.
pub(super) struct Value {
    /// The value that is to stand.
    pub(super) wanted: Bytes,
    /// The value that stands as far as is known, or stood last.
    pub(super) written: Option<Bytes>,
    /// Whether something else may stand, as a write was not answered.
    pub(super) doubtful: bool,
    /// Why `wanted` was not written and is not going to be soon, or why it was given up.
    pub(super) refused: Option<Error>,
    /// Whether `wanted` is an older value, as the owner's newest was given up.
    given_up: bool,
}

impl Value {
    /// A value that is to stand.
    pub(super) fn new(wanted: Bytes) -> Self {
        Self {
            wanted,
            written: None,
            doubtful: false,
            refused: None,
            given_up: false,
        }
    }

    /// Another one is to stand.
    pub(super) fn want(&mut self, value: Bytes) {
        self.wanted = value;
        self.refused = None;
        self.given_up = false;
    }

    /// The registry says that it has `sent`.
    pub(super) fn stands_now(&mut self, sent: Bytes) {
        self.written = Some(sent);
        self.doubtful = false;
    }

    /// What was refused before is not any more, if it stands by now.
    pub(super) fn settle(&mut self) {
        if self.is_written() && !self.given_up {
            self.refused = None;
        }
    }

    /// It was not written, for a reason that is worth telling who brought it only if it was the
    /// `newest` that was sent, and does not pass.
    pub(super) fn refuse(&mut self, error: Error, newest: bool) {
        if !self.given_up {
            self.refused = (newest && !error.is_transient()).then_some(error);
        }
    }

    /// Whether it stands.
    pub(super) fn is_written(&self) -> bool {
        self.stands(&self.wanted)
    }

    /// Whether this stands, as far as is known.
    pub(super) fn stands(&self, value: &Bytes) -> bool {
        !self.doubtful && self.written.as_ref() == Some(value)
    }

    /// Goes back to the value that stood, if the newest can never stand: it must not keep the entry
    /// away. Whether it did.
    pub(super) fn give_up_if_hopeless(&mut self, error: &Error) -> bool {
        if let Some(written) = &self.written
            && *written != self.wanted
            && is_hopeless(error)
        {
            self.wanted = written.clone();
            self.given_up = true;
            self.refused = Some(error.clone());
            return true;
        }
        false
    }
}

/// Whether it is the value that is at fault, rather than the moment or the rights.
pub(super) fn is_hopeless(error: &Error) -> bool {
    matches!(error, Error::Invalid(_) | Error::Unsupported { .. })
}
