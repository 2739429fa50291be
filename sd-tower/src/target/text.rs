//! The text of a target: its parts, and percent-encoding.

use super::error::TargetProblem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::{fmt, ops::Range};

/// What is wrong, and at which bytes of the text.
pub(super) type Located = (Range<usize>, TargetProblem);

/// All but a few: more than has to be encoded, so that it is right in the service and in options.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/');

/// `text` as it is written in a service or in an option.
pub(super) fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, ENCODED)
}

/// A part of the text that knows where it is.
#[derive(Clone, Copy)]
pub(super) struct Part<'t> {
    pub(super) text: &'t str,
    start: usize,
}

impl<'t> Part<'t> {
    /// All of it.
    pub(super) fn whole(text: &'t str) -> Self {
        Self { text, start: 0 }
    }

    /// The bytes of the whole text that it is.
    pub(super) fn span(self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// This problem, with the whole part.
    pub(super) fn is(self, problem: TargetProblem) -> Located {
        (self.span(), problem)
    }

    /// What is before and after the first `delimiter`; all and nothing if there is none.
    pub(super) fn split_once(self, delimiter: &str) -> (Self, Option<Self>) {
        match self.text.find(delimiter) {
            Some(at) => {
                let (before, after) = self.split_at(at);
                (before, Some(after.split_at(delimiter.len()).1))
            }
            None => (self, None),
        }
    }

    /// What is before the first of `delimiters`, and the rest with it.
    pub(super) fn split_before(self, delimiters: &[char]) -> (Self, Self) {
        self.split_at(self.text.find(delimiters).unwrap_or(self.text.len()))
    }

    /// What is before the byte `at`, where there is a character.
    pub(super) fn to(self, at: usize) -> Self {
        self.split_at(at).0
    }

    /// What is after `prefix`, if it begins with that.
    pub(super) fn strip_prefix(self, prefix: &str) -> Option<Self> {
        let is_prefixed = self.text.starts_with(prefix);
        is_prefixed.then(|| self.split_at(prefix.len()).1)
    }

    /// `at` is the place of a character of the text, or its end.
    fn split_at(self, at: usize) -> (Self, Self) {
        let (before, after) = self.text.split_at(at);
        let after = Self {
            text: after,
            start: self.start + at,
        };
        (
            Self {
                text: before,
                ..self
            },
            after,
        )
    }

    /// The parts between the `delimiter`s, at least one.
    pub(super) fn split(self, delimiter: &'static str) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let (part, after) = rest?.split_once(delimiter);
            rest = after;
            Some(part)
        })
    }

    /// The text that it stands for, in a service or in an option.
    pub(super) fn decoded(self) -> Result<String, Located> {
        let mut rest = self;
        while let Some(character) = rest.text.chars().next() {
            let length = match character {
                '%' => {
                    let digits = rest.text[1..].chars().take(2);
                    let (digits, bytes) = digits.fold((0, 1), |(digits, bytes), digit| {
                        let is_digit = digit.is_ascii_hexdigit();
                        (digits + usize::from(is_digit), bytes + digit.len_utf8())
                    });
                    if digits < 2 {
                        return Err(rest.split_at(bytes).0.is(TargetProblem::Escape));
                    }
                    bytes
                }
                _ if is_literal(character) => 1,
                _ => {
                    let wrong = rest.split_at(character.len_utf8()).0;
                    return Err(wrong.is(TargetProblem::Character { character }));
                }
            };
            rest = rest.split_at(length).1;
        }
        let decoded = percent_decode_str(self.text).decode_utf8();
        let decoded = decoded.map_err(|_| self.is(TargetProblem::NotUtf8))?;
        if decoded.contains(char::is_control) {
            return Err(self.is(TargetProblem::Control));
        }
        Ok(decoded.into_owned())
    }
}

/// Whether the character stands for itself: RFC 3986's `pchar` without `@`, and `/` and `?`.
fn is_literal(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:/?".contains(character)
}
