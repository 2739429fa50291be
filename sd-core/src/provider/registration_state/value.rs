//! The value of an entry: the one that the owner wants, and the one that the registry has.

use crate::registry::Error;
use bytes::Bytes;

/// The wanted value, whether it was written, and the value that the registry has.
pub(super) struct Value {
    /// The value to write.
    pub(super) wanted: Bytes,
    /// The value that the registry has confirmed last.
    pub(super) written: Option<Bytes>,
    /// The owner's value, if `written` is an edit of it.
    written_own: Option<Bytes>,
    /// Whether the registry may have another value than `written`, since a write was not answered or
    /// somebody else has written.
    pub(super) uncertain: bool,
    /// The error for the owner's newest value, if it was given up or will not be written soon.
    pub(super) refused: Option<Error>,
    /// Whether the owner's newest value was given up, and `wanted` is the one before.
    given_up: bool,
    /// Whether the owner waits for the registry's answer to `wanted`, also if that was written before.
    is_asked: bool,
    /// The owner's value, if `wanted` is an edit of it that somebody made in the registry.
    edited: Option<Bytes>,
}

impl Value {
    /// A value to write.
    pub(super) fn new(wanted: Bytes) -> Self {
        Self {
            wanted,
            written: None,
            written_own: None,
            uncertain: false,
            refused: None,
            given_up: false,
            is_asked: false,
            edited: None,
        }
    }

    /// The owner wants another value, `own`. With what was edited before, that is `wanted`.
    pub(super) fn want(&mut self, own: Bytes, wanted: Bytes) {
        self.edited = (own != wanted).then_some(own);
        self.wanted = wanted;
        self.refused = None;
        self.given_up = false;
        self.is_asked = true;
    }

    /// Somebody has edited the entry, and its value is wanted from now on.
    pub(super) fn adopt(&mut self, edit: Bytes) {
        // Until the registry has confirmed that the entry is ours with this value.
        self.uncertain = true;
        let own = std::mem::replace(&mut self.wanted, edit);
        self.edited.get_or_insert(own);
    }

    /// The wanted value, if somebody has edited it in the registry.
    pub(super) fn edit(&self) -> Option<&Bytes> {
        self.edited.as_ref().map(|_| &self.wanted)
    }

    /// The owner's value, if somebody has edited it in the registry.
    pub(super) fn own(&self) -> Option<&Bytes> {
        self.edited.as_ref()
    }

    /// The entry has ended, and what was edited in it.
    pub(super) fn end(&mut self) {
        self.written = None;
        if let Some(own) = self.edited.take() {
            self.wanted = own;
        }
    }

    /// The registry has confirmed the value `sent`.
    pub(super) fn confirm(&mut self, sent: Bytes) {
        let is_wanted = sent == self.wanted;
        self.is_asked &= !is_wanted;
        self.written_own = self.edited.clone().filter(|_| is_wanted);
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

    /// Whether the registry has confirmed the wanted value since the owner asked for it.
    pub(super) fn is_written(&self) -> bool {
        !self.is_asked && self.is_current(&self.wanted)
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
            self.is_asked = false;
            self.edited = self.written_own.clone();
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
