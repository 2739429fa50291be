//! JSON objects whose fields are changed one by one.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};
use std::{borrow::Cow, fmt};

/// A JSON object, read only as far as the names of its fields. For codecs whose values are JSON: what an
/// [`Edit`](crate::Edit) does not change keeps its text and its place.
///
/// ```
/// use sd_core::JsonObject;
///
/// let mut value = JsonObject::parse(br#"{"Weight":1.50,"x":[1e400]}"#)?;
/// assert_eq!(value.get("Weight"), Some("1.50"));
/// value.set("Weight", &3)?;
/// value.set("Tag", "blue")?;
/// assert_eq!(value.to_string(), r#"{"Weight":3,"x":[1e400],"Tag":"blue"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct JsonObject<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'a> JsonObject<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// If `json` is no object in JSON.
    pub fn parse(json: &'a [u8]) -> serde_json::Result<Self> {
        // Checked at once, all texts in it are.
        match std::str::from_utf8(json) {
            Ok(json) => serde_json::from_str(json),
            // Says where.
            Err(_) => serde_json::from_slice(json),
        }
    }

    /// The JSON of the field called `name`, the last if there are several.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter().rev();
        let (_, value) = fields.find(|(known, _)| known == name)?;
        Some(value.get())
    }

    /// The names of the fields and the JSON of each, in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, value.get()))
    }

    /// Writes `value` into the field called `name`, in place of what it is now, or as the last field.
    ///
    /// # Errors
    /// If `value` cannot be written as JSON.
    pub fn set<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> serde_json::Result<()> {
        let value = Cow::Owned(to_raw_value(value)?);
        match self.0.iter().rposition(|(known, _)| known == name) {
            Some(known) => self.0[known].1 = value,
            None => self.0.push((name.to_owned().into(), value)),
        }
        Ok(())
    }

    /// Removes the field called `name`.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }
}

impl Serialize for JsonObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, &**value)))
    }
}

/// The JSON of the object.
impl fmt::Display for JsonObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = JsonObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    fields.push((name.0, Cow::Borrowed(value)));
                }
                Ok(JsonObject(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Borrowed unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_keeps_its_text_and_place() {
        let json = br#" {"a" : 1.0, "\u0062":{"x" : [1e400]}, "a": 2,"c":null} "#;
        let mut object = JsonObject::parse(json).unwrap();
        assert_eq!(
            (object.get("a"), object.get("b")),
            (Some("2"), Some(r#"{"x" : [1e400]}"#))
        );
        object.set("a", "new").unwrap();
        object.set("d", &true).unwrap();
        object.remove("c");
        object.remove("e");
        let expected = r#"{"a":1.0,"b":{"x" : [1e400]},"a":"new","d":true}"#;
        assert_eq!(object.to_string(), expected);
        for bad in ["", "null", "[]", "\"a\"", "{\"a\"}", "{} {}"] {
            assert!(JsonObject::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
