//! JSON as Go's `encoding/json` reads and writes it.
//!
//! Go finds a field whatever the case of its name, takes the last of several, and `null` leaves text and numbers
//! as they are. It writes `<`, `>` and `&` as escapes, and the names of a map in their order.

use crate::ignored::Ignored;
use sd_core::{Bytes, CodecError, JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::{ser::Formatter, value::RawValue};
use std::{
    borrow::Cow,
    io::{self, Write},
};

/// Longer values are no instances. etcd's own limit for a request is 1.5 MiB.
pub(crate) const LONGEST: usize = 1 << 20;

/// A JSON object as Go reads it into a struct.
#[derive(Debug)]
pub(crate) struct GoObject<'a>(JsonObject<'a>);

impl<'a> GoObject<'a> {
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, CodecError> {
        if value.len() > LONGEST {
            return Err(CodecError::new("the value is too long for an instance"));
        }
        let no_object = CodecError::new("the value is no object in JSON");
        JsonObject::parse(value).map(Self).map_err(|error| {
            // serde's error about data repeats it; one about syntax only says where it is wrong.
            match error.is_data() {
                true => no_object,
                false => no_object.with_source(error),
            }
        })
    }

    /// The JSON of each field that Go takes for `field`, in their order.
    fn all<'o>(&'o self, field: &'o str) -> impl DoubleEndedIterator<Item = (&'o str, &'o str)> {
        self.0.iter().filter(move |(name, _)| is_same(name, field))
    }

    /// The JSON of `field`, unless that is `null`.
    pub(crate) fn get<'o>(&'o self, field: &'o str) -> Option<&'o str> {
        let mut values = self.all(field).map(|(_, value)| value);
        values.rfind(|value| *value != "null")
    }

    /// The text of `field`, unless it is empty.
    pub(crate) fn text<'o>(
        &'o self,
        field: &'o str,
        ignored: &mut Ignored,
    ) -> Option<Cow<'o, str>> {
        let text = text(self.get(field)?);
        if text.is_none() {
            ignored.note(field, "it is no text");
        }
        text.filter(|text| !text.is_empty())
    }

    /// The text of `field`, without which there is no instance.
    pub(crate) fn required<'o>(&'o self, field: &'o str) -> Result<Cow<'o, str>, CodecError> {
        let text = self.get(field).and_then(text);
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| missing(field))
    }

    /// The number of `field`. Also one that is written as text, which Go refuses.
    pub(crate) fn number(&self, field: &str, ignored: &mut Ignored) -> Option<i64> {
        let json = self.get(field)?;
        let number = json.parse().ok();
        if number.is_none() {
            ignored.note(field, "it is no whole number");
        }
        number.or_else(|| text(json)?.parse().ok())
    }

    /// Whether `field` is true. `None` if it is not there.
    pub(crate) fn flag(&self, field: &str, ignored: &mut Ignored) -> Option<bool> {
        let json = self.get(field)?;
        let flag = json.parse().ok();
        if flag.is_none() {
            ignored.note(field, "it is neither true nor false");
        }
        flag
    }

    /// Writes `value` into `field`.
    pub(crate) fn set<T: Serialize + ?Sized>(
        &mut self,
        field: &str,
        value: &T,
    ) -> Result<(), CodecError> {
        let name = self.all(field).next_back().map(|(name, _)| name.to_owned());
        let name = name.as_deref().unwrap_or(field);
        self.0.set(name, value).map_err(unwritable)
    }

    /// The object in JSON.
    pub(crate) fn to_value(&self) -> Result<Bytes, CodecError> {
        checked(serde_json::to_vec(&self.0).map_err(unwritable)?)
    }
}

impl Serialize for GoObject<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn missing(field: &str) -> CodecError {
    CodecError::new(format!("the value has no text in \"{field}\""))
}

/// Whether Go takes the field `name` for the one that is called `field`, which is ASCII.
fn is_same(name: &str, field: &str) -> bool {
    if name.is_ascii() {
        return name.eq_ignore_ascii_case(field);
    }
    // The only other characters that Go folds to ASCII.
    let folded = name.replace('ſ', "s").replace('\u{212a}', "k");
    folded.eq_ignore_ascii_case(field)
}

/// Borrowed unless it has escapes.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'a> Text<'a> {
    /// The text, unless it is empty.
    pub(crate) fn said(self) -> Option<Cow<'a, str>> {
        Some(self.0).filter(|text| !text.is_empty())
    }

    /// The text of `field`, without which there is no instance.
    pub(crate) fn required(self, field: &str) -> Result<Cow<'a, str>, CodecError> {
        self.said().ok_or_else(|| missing(field))
    }
}

/// Reads `value` in one pass if it is as programs write it: its fields are those of `T` and no others, each once, and
/// of the type that they have there. `None` if it is not, and has to be read field by field.
///
/// `T` has to deny unknown fields: that of another case may be the one that counts.
pub(crate) fn as_written<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Option<T> {
    if value.len() > LONGEST {
        return None;
    }
    serde_json::from_str(str::from_utf8(value).ok()?).ok()
}

/// The text that `json` is, which was checked when the object it stands in was read.
pub(crate) fn text(json: &str) -> Option<Cow<'_, str>> {
    let quoted = json.strip_prefix('"')?;
    match quoted.strip_suffix('"') {
        // As nearly all are.
        Some(text) if !text.contains('\\') => Some(text.into()),
        _ => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
    }
}

/// The elements of the list that `json` is.
pub(crate) fn list(json: &str) -> Option<Vec<&RawValue>> {
    Vec::deserialize(&mut serde_json::Deserializer::from_str(json)).ok()
}

/// `value` as Go writes it.
pub(crate) fn written<T: Serialize>(value: &T) -> Result<Bytes, CodecError> {
    let mut json = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, GoFormatter);
    value.serialize(&mut serializer).map_err(unwritable)?;
    checked(json)
}

fn checked(json: Vec<u8>) -> Result<Bytes, CodecError> {
    match json.len() {
        ..=LONGEST => Ok(json.into()),
        _ => Err(CodecError::new("the instance is too long to be read again")),
    }
}

pub(crate) fn unwritable(error: serde_json::Error) -> CodecError {
    CodecError::new("the instance cannot be written").with_source(error)
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
        let mut rest = fragment;
        while let Some((plain, after)) = rest.split_once(ESCAPED) {
            writer.write_all(plain.as_bytes())?;
            let escaped = rest[plain.len()..].chars().next();
            write!(writer, "\\u{:04x}", escaped.map_or(0, u32::from))?;
            rest = after;
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_as_go_finds_them() {
        let json = r#"{"ADDRESS":"a","addreſs":"b","Weight":3,"weight":null,"x":1}"#;
        let object = GoObject::parse(json.as_bytes()).unwrap();
        assert_eq!(object.required("address").unwrap(), "b");
        assert_eq!(object.get("weight"), Some("3"));
        assert_eq!(object.get("y"), None);
        for bad in ["", "null", "[]", "10.0.0.1:80", "{\"a\":}"] {
            assert!(GoObject::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_is_changed_where_it_stands() {
        let json = br#"{ "WEIGHT" : 3, "x":[1e400]}"#;
        let mut object = GoObject::parse(json).unwrap();
        object.set("weight", &4).unwrap();
        object.set("tags", "t").unwrap();
        let expected = r#"{"WEIGHT":4,"x":[1e400],"tags":"t"}"#;
        assert_eq!(object.to_value().unwrap(), expected);
    }

    /// As Go 1.26 writes it.
    #[test]
    fn what_html_would_read_is_escaped() {
        let json = written(&"<a href=\"x\">&\u{2028}\u{2029}é\n</a>").unwrap();
        let expected = r#""\u003ca href=\"x\"\u003e\u0026\u2028\u2029é\n\u003c/a\u003e""#;
        assert_eq!(json, expected);
    }
}
