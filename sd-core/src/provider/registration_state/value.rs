//! The key and the value of an entry: those that the owner wants, and those that the registry has.

use crate::{
    provider::key_value::KeyValue,
    registry::{Error, ServiceKey},
};
use bytes::Bytes;

/// The wanted key and value, whether they were written, and those that the registry has.
pub(super) struct Value {
    /// What to write.
    pub(super) wanted: KeyValue,
    /// What the registry has confirmed last.
    written: Option<KeyValue>,
    /// What the owner gave, if `written` is an edit of it.
    written_own: Option<KeyValue>,
    /// Whether the registry may have another value than `written` under its key, since a write was not answered or
    /// somebody else has written.
    pub(super) uncertain: bool,
    /// The error for the owner's newest value, if it was given up or will not be written soon.
    pub(super) refused: Option<Error>,
    /// Whether the owner's newest value was given up, and `wanted` is the one before.
    given_up: bool,
    /// Whether the owner waits for the registry's answer to `wanted`, also if that was written before.
    is_asked: bool,
    /// The owner's value, if `wanted` is an edit of it that somebody made in the registry.
    edited: Option<KeyValue>,
}

impl Value {
    /// A value to write.
    pub(super) fn new(wanted: KeyValue) -> Self {
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
    pub(super) fn want(&mut self, own: KeyValue, wanted: KeyValue) {
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
        let edit = self.wanted.with_value(edit);
        let own = std::mem::replace(&mut self.wanted, edit);
        self.edited.get_or_insert(own);
    }

    /// The wanted value, if somebody has edited it in the registry.
    pub(super) fn edit(&self) -> Option<&Bytes> {
        self.edited.as_ref().map(|_| &self.wanted.value)
    }

    /// The owner's value, if somebody has edited it in the registry.
    pub(super) fn own(&self) -> Option<&KeyValue> {
        self.edited.as_ref()
    }

    /// The key that the registry has confirmed last.
    pub(super) fn written_key(&self) -> Option<&ServiceKey> {
        self.written.as_ref().map(|written| &written.key)
    }

    /// Whether what is wanted belongs under another key than what was written.
    pub(super) fn moves(&self) -> bool {
        self.written_key()
            .is_some_and(|key| *key != self.wanted.key)
    }

    /// What is to be written under the key that was written last: the wanted value, unless that belongs elsewhere.
    pub(super) fn in_place(&self) -> &KeyValue {
        match &self.written {
            Some(written) if self.moves() => written,
            _ => &self.wanted,
        }
    }

    /// The entry has ended, and what was edited in it.
    pub(super) fn end(&mut self) {
        self.written = None;
        if let Some(own) = self.edited.take() {
            self.wanted = own;
        }
    }

    /// The registry has confirmed `sent`.
    pub(super) fn confirm(&mut self, sent: KeyValue) {
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
        !self.is_asked && !self.uncertain && self.written.as_ref() == Some(&self.wanted)
    }

    /// [Gives up](Self::give_up) what the registry can never accept, which must not keep the entry away.
    pub(super) fn give_up_if_unacceptable(&mut self, error: &Error) -> bool {
        is_unacceptable(error) && self.give_up(error)
    }

    /// Goes back to what was written last, if that is anything else. Whether it did.
    pub(super) fn give_up(&mut self, error: &Error) -> bool {
        if let Some(written) = &self.written
            && *written != self.wanted
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
