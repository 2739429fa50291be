//! What of an entry was left out.

use sd_core::{CodecError, Decoded};
use std::fmt;

/// What of an entry the consumers of its fleet would not read as it is read here: it was left out, or they would
/// refuse it. Consumers log it once, and no provider can register it.
#[derive(Debug, Default)]
pub(crate) struct Ignored(Vec<String>);

/// So much of one entry is told at most: what is wrong with it may be all of a long list.
const MOST: usize = 8;

impl Ignored {
    /// Notes that `what`, a field or a part of one, is `why`.
    pub(crate) fn note(&mut self, what: impl fmt::Display, why: impl fmt::Display) {
        if self.0.len() < MOST {
            self.0.push(format!("{what}: {why}"));
        }
    }

    /// `decoded`, of which this was left out.
    pub(crate) fn of(self, decoded: impl Into<Decoded>) -> Decoded {
        let ignored = (!self.0.is_empty()).then(|| CodecError::new(self.0.join("; ")));
        decoded.into().with_ignored(ignored)
    }
}
