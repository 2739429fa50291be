//! Values of metadata: texts, and what is none.

use std::fmt;

/// The value of one piece of metadata, as [`Instance::metadata_values`](crate::Instance::metadata_values) returns
/// it and [`Instance::with_all_metadata`](crate::Instance::with_all_metadata) takes it.
///
/// `Debug` does not show it: it may be meant for few.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MetadataValue<'a> {
    /// A text.
    Text(&'a str),
    /// No text: a number, a list or what else there is in JSON, as it is written.
    Json(&'a str),
}

impl<'a> MetadataValue<'a> {
    /// The text, or the JSON.
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Text(text) | Self::Json(text) => text,
        }
    }
}

impl fmt::Debug for MetadataValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Text(_) => "Text",
            Self::Json(_) => "Json",
        };
        write!(f, "{kind}({} bytes)", self.as_str().len())
    }
}
