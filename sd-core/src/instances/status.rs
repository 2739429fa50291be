//! Whether an instance wants new calls.

use std::fmt;

/// Whether an instance wants new calls.
///
/// A provider that is about to stop announces it. Callers then choose other instances before it
/// stops, and its removal applies at once instead of being [held](crate::Held).
///
/// ```
/// use sd_core::Status;
///
/// assert_eq!(Status::default(), Status::Serving);
/// assert_eq!(Status::Draining.to_string(), "draining");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Status {
    /// It takes calls.
    #[default]
    Serving,
    /// It finishes the calls it has, wants no new ones, and will stop. Its removal applies at once.
    Draining,
    /// Its provider says a word that is not known here, as `starting`:
    /// [`Instance::status_word`](crate::Instance::status_word). It gets calls only if no other instance is serving.
    Unknown,
}

impl Status {
    /// `serving` or `draining`, as the [default codec](crate::DefaultCodec) writes it, or `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
