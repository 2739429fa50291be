//! What decodes outside input, as functions of bytes: the fuzz targets and the property tests of
//! `tests/tests/fuzzing.rs` run them. Each panics if what it promises does not hold. They are no part of
//! the public API.
//!
//! | function | input | promise |
//! |---|---|---|
//! | `default_codec`, `codec` | the value of an entry | an error or an instance, which can be written and edited |
//! | `mirror` | lists, batches and errors in any order | what is shown is in the limits, and converges |
//! | `text` | keys, prefixes and names | a name leads to no other service, and forges no line of a log |
//!
//! `assert_is_line` is for those of other crates.

mod codec;
mod text;

pub use crate::consumer::fuzz_mirror as mirror;
pub use codec::{codec, default_codec};
pub use text::{assert_is_line, text};
