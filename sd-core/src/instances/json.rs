//! The JSON form of instances, for the default codec and, with the feature `serde`, for
//! [`Instance`].

use super::{
    instance::Instance,
    instance_text::{Field, InstanceText, Piece},
    json_object::JsonObject,
    metadata_value::MetadataValue,
    status::Status,
};
use crate::registry::Key;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt, iter};

/// An instance without its key, as it is written.
#[derive(Serialize)]
pub(super) struct Attributes<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata<'a>,
}

/// The metadata of an instance.
struct Metadata<'a>(&'a Instance);

impl Metadata<'_> {
    fn is_empty(&self) -> bool {
        self.0.all_metadata().next().is_none()
    }
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pieces = self.0.metadata_values();
        serializer.collect_map(pieces.map(|(name, value)| (name, Value(value))))
    }
}

/// A value of metadata.
struct Value<'a>(MetadataValue<'a>);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            MetadataValue::Text(text) => serializer.serialize_str(text),
            // Text that is no JSON after all is written as text.
            MetadataValue::Json(json) => match serde_json::from_str::<&RawValue>(json) {
                Ok(json) => json.serialize(serializer),
                Err(_) => serializer.serialize_str(json),
            },
        }
    }
}

impl<'a> Attributes<'a> {
    pub(super) fn of(instance: &'a Instance) -> Self {
        Self {
            address: instance.address(),
            addresses: instance.other_addresses().collect(),
            weight: instance.said_weight().filter(|weight| *weight != 1),
            zone: instance.zone(),
            status: instance.status_word(),
            id: instance.id(),
            version: instance.version(),
            metadata: Metadata(instance),
        }
    }
}

/// An instance without its key whose attributes all are what they should be, and whose texts have no escapes: most
/// are so, and are read in one pass. For all others there are [`RawAttributes`].
#[derive(Deserialize)]
pub(super) struct PlainAttributes<'a> {
    pub(super) address: &'a str,
    #[serde(borrow)]
    addresses: Option<Vec<&'a str>>,
    weight: Option<u32>,
    zone: Option<&'a str>,
    status: Option<&'a str>,
    id: Option<&'a str>,
    version: Option<&'a str>,
    #[serde(borrow)]
    metadata: Option<Texts<'a>>,
}

/// Metadata whose values all are texts.
struct Texts<'a>(Vec<Piece<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pieces;

        impl<'de> Visitor<'de> for Pieces {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pieces = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    pieces.push((name, MetadataValue::Text(value)));
                }
                Ok(Texts(pieces))
            }
        }

        deserializer.deserialize_map(Pieces)
    }
}

impl PlainAttributes<'_> {
    /// The instance under `key`, and what is wrong with its attributes.
    pub(super) fn into_instance(self, key: Key) -> (Instance, Vec<&'static str>) {
        let some = |field, text: Option<_>| text.map(|text| (field, text)).into_iter();
        let others = self.addresses.as_deref().unwrap_or_default();
        let fields = iter::once((Field::Address, self.address))
            .chain(some(Field::Id, self.id))
            .chain(some(Field::Version, self.version))
            .chain(others.iter().map(|other| (Field::OtherAddress, *other)))
            .chain(some(Field::Zone, self.zone));
        let mut pieces = self.metadata.map_or_else(Vec::new, |texts| texts.0);
        let mut instance = Instance::of_text(key, InstanceText::new(fields, &mut pieces));
        if let Some(weight) = self.weight {
            instance = instance.with_weight(weight);
        }
        let mut ignored = Vec::new();
        if let Some(word) = self.status {
            instance = read_status(instance, word, &mut ignored);
        }
        (instance, ignored)
    }
}

/// Borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An instance without its key, as somebody has written it. Only the address is required, `null` is as nothing,
/// and unknown fields are ignored.
#[derive(Deserialize)]
pub(super) struct RawAttributes<'a> {
    #[serde(borrow)]
    pub(super) address: Cow<'a, str>,
    #[serde(default, borrow)]
    addresses: Option<&'a RawValue>,
    #[serde(default, borrow)]
    weight: Option<&'a RawValue>,
    #[serde(default, borrow)]
    zone: Option<&'a RawValue>,
    #[serde(default, borrow)]
    status: Option<&'a RawValue>,
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    version: Option<&'a RawValue>,
    #[serde(default, borrow)]
    metadata: Option<&'a RawValue>,
}

impl RawAttributes<'_> {
    /// The instance under `key`, and what is wrong with the attributes that could not be read.
    pub(super) fn into_instance(self, key: Key) -> (Instance, Vec<&'static str>) {
        let mut ignored = Vec::new();
        let mut instance = Instance::new(key, self.address);
        let addresses: Option<Vec<Text<'_>>> = read(
            "the addresses are no list of texts",
            self.addresses,
            &mut ignored,
        );
        for Text(address) in addresses.unwrap_or_default() {
            instance = instance.with_other_address(address);
        }
        if let Some(weight) = self
            .weight
            .and_then(|weight| read_weight(weight, &mut ignored))
        {
            instance = instance.with_weight(weight);
        }
        if let Some(Text(zone)) = read("the zone is not text", self.zone, &mut ignored) {
            instance = instance.with_zone(zone);
        }
        if let Some(Text(word)) = read("the status is not text", self.status, &mut ignored) {
            instance = read_status(instance, &word, &mut ignored);
        }
        if let Some(Text(id)) = read("the id is not text", self.id, &mut ignored) {
            instance = instance.with_id(id);
        }
        if let Some(Text(version)) = read("the version is not text", self.version, &mut ignored) {
            instance = instance.with_version(version);
        }
        let metadata: Option<JsonObject<'_>> =
            read("the metadata is not an object", self.metadata, &mut ignored);
        if let Some(pieces) = metadata {
            let read = pieces.iter().map(|(name, json)| {
                let text: Option<Text<'_>> = serde_json::from_str(json).ok();
                (name, json, text)
            });
            let read: Vec<_> = read.collect();
            let pieces = read.iter().map(|(name, json, text)| match text {
                Some(Text(text)) => (*name, MetadataValue::Text(text)),
                None => (*name, MetadataValue::Json(json)),
            });
            instance = instance.with_all_metadata(pieces);
        }
        (instance, ignored)
    }
}

pub(super) fn with_status_word(instance: Instance, word: impl AsRef<str>) -> Instance {
    let word = word.as_ref();
    match word {
        "serving" => instance.with_status(Status::Serving),
        "draining" => instance.with_status(Status::Draining),
        _ => instance.with_unknown_status(word),
    }
}

/// `instance` with a status that somebody has written.
fn read_status(instance: Instance, word: &str, ignored: &mut Vec<&'static str>) -> Instance {
    let instance = with_status_word(instance, word);
    if instance.status() == Status::Unknown {
        ignored.push("the status is neither serving nor draining");
    }
    instance
}

/// A number, also one that is written as text.
fn read_weight(weight: &RawValue, ignored: &mut Vec<&'static str>) -> Option<u32> {
    const WRONG: &str = "the weight is not a whole number from 0 to 4294967295";
    let text: Option<String> = serde_json::from_str(weight.get()).ok();
    match text.as_deref().map(str::parse) {
        Some(Ok(weight)) => Some(weight),
        _ => read(WRONG, Some(weight), ignored),
    }
}

/// Reads `value`, or notes that it is `wrong`. serde's error would repeat it.
fn read<'a, T: Deserialize<'a>>(
    wrong: &'static str,
    value: Option<&'a RawValue>,
    ignored: &mut Vec<&'static str>,
) -> Option<T> {
    let read = serde_json::from_str(value?.get());
    read.map_err(|_| ignored.push(wrong)).ok()
}

/// An instance with its key, as it is written where there is no entry.
#[cfg(any(feature = "serde", feature = "snapshot"))]
pub(crate) use with_key::{InstanceRead, InstanceWritten};

#[cfg(any(feature = "serde", feature = "snapshot"))]
mod with_key {
    use super::*;
    use crate::registry::Invalid;
    use std::collections::BTreeMap;

    #[derive(Serialize)]
    pub(crate) struct InstanceWritten<'a> {
        key: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        part: Option<&'a str>,
        #[serde(flatten)]
        attributes: Attributes<'a>,
    }

    impl<'a> From<&'a Instance> for InstanceWritten<'a> {
        fn from(instance: &'a Instance) -> Self {
            Self {
                key: instance.key().as_str(),
                part: instance.part(),
                attributes: Attributes::of(instance),
            }
        }
    }

    /// What was written on purpose is read strictly.
    #[derive(Deserialize)]
    pub(crate) struct InstanceRead {
        key: String,
        part: Option<Box<str>>,
        address: Box<str>,
        #[serde(default)]
        addresses: Vec<Box<str>>,
        weight: Option<u32>,
        zone: Option<Box<str>>,
        status: Option<Box<str>>,
        id: Option<Box<str>>,
        version: Option<Box<str>>,
        #[serde(default)]
        metadata: BTreeMap<String, serde_json::Value>,
    }

    impl TryFrom<InstanceRead> for Instance {
        type Error = Invalid;

        fn try_from(read: InstanceRead) -> Result<Self, Invalid> {
            let mut instance = Self::new(Key::new(read.key)?, read.address);
            for address in read.addresses {
                instance = instance.with_other_address(address);
            }
            if let Some(part) = read.part {
                instance = instance.with_part(part);
            }
            if let Some(weight) = read.weight {
                instance = instance.with_weight(weight);
            }
            if let Some(zone) = read.zone {
                instance = instance.with_zone(zone);
            }
            if let Some(word) = read.status {
                instance = with_status_word(instance, word);
            }
            if let Some(id) = read.id {
                instance = instance.with_id(id);
            }
            if let Some(version) = read.version {
                instance = instance.with_version(version);
            }
            let pieces = read.metadata.iter();
            let json: Vec<_> = pieces.clone().map(|(_, value)| value.to_string()).collect();
            let pieces = pieces.zip(&json).map(|((name, value), json)| match value {
                serde_json::Value::String(text) => (name.as_str(), MetadataValue::Text(text)),
                _ => (name.as_str(), MetadataValue::Json(json)),
            });
            Ok(instance.with_all_metadata(pieces))
        }
    }
}

#[cfg(feature = "serde")]
mod public {
    use super::*;
    use serde::{Deserializer, de};

    /// `serving`, `draining` or `unknown`.
    impl Serialize for Status {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.as_str())
        }
    }

    /// `serving` or `draining`; any other word is [`Status::Unknown`].
    impl<'de> Deserialize<'de> for Status {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let word = String::deserialize(deserializer)?;
            Ok(match word.as_str() {
                "serving" => Self::Serving,
                "draining" => Self::Draining,
                _ => Self::Unknown,
            })
        }
    }

    impl Serialize for Instance {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            InstanceWritten::from(self).serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Instance {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let read = InstanceRead::deserialize(deserializer)?;
            Self::try_from(read).map_err(de::Error::custom)
        }
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;
    use crate::registry::LeaseId;

    fn read(json: &str) -> Result<Instance, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn the_json_of_an_instance_is_fixed() {
        let plain = Instance::new(Key::new("/hello/a").unwrap(), "10.0.0.1:80");
        let rich = plain
            .clone()
            .with_weight(3)
            .with_zone("eu-1")
            .with_status(Status::Draining)
            .with_metadata("version", "1.4.2");
        for (instance, expected) in [
            (
                plain,
                r#"{"key":"/hello/a","address":"10.0.0.1:80","status":"serving"}"#,
            ),
            (
                rich,
                concat!(
                    r#"{"key":"/hello/a","address":"10.0.0.1:80","weight":3,"zone":"eu-1","#,
                    r#""status":"draining","metadata":{"version":"1.4.2"}}"#
                ),
            ),
        ] {
            assert_eq!(serde_json::to_string(&instance).unwrap(), expected);
            let leased = instance.clone().with_lease(LeaseId::from(7));
            assert_eq!(serde_json::to_string(&leased).unwrap(), expected);
            assert_eq!(read(expected).unwrap(), instance);
        }
    }

    #[test]
    fn only_key_and_address_are_required() {
        let least = read(r#"{"address":"h:1","key":"a","later":[1]}"#).unwrap();
        assert_eq!((least.weight(), least.status()), (1, Status::Serving));
        assert!(read(r#"{"key":"a"}"#).is_err());
        assert!(read(r#"{"address":"h:1"}"#).is_err());
        assert!(
            read(r#"{"key":"","address":"h:1"}"#).is_err(),
            "an empty key"
        );
    }
}

#[cfg(test)]
mod one_pass {
    use super::*;
    use crate::support::cases;
    use proptest::prelude::*;

    fn field() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "address",
            "addresses",
            "weight",
            "zone",
            "status",
            "id",
            "version",
            "metadata",
            "other",
        ]);
        let value = prop::sample::select(vec![
            r#""h:1""#,
            r#""serving""#,
            r#""draining""#,
            r#""draini\u006eg""#,
            r#""\ud800""#,
            r#""""#,
            "null",
            "true",
            "3",
            r#""3""#,
            "3.0",
            "-1",
            "4294967296",
            "1e400",
            "[]",
            r#"["h:2","h:3"]"#,
            r#"["h:2",1]"#,
            "{}",
            r#"{"b":"1","a":"2","b":"3"}"#,
            r#"{"b":"1","a":2}"#,
            r#"{"b":null}"#,
            r#"{"b":"\t"}"#,
            r#"{"b":{"a":[1e400]}}"#,
        ]);
        (name, value).prop_map(|(name, value)| format!(r#""{name}":{value}"#))
    }

    proptest! {
        #![proptest_config(cases(8))]

        #[test]
        fn what_is_read_in_one_pass_is_what_is_read_in_two(
            mut fields in prop::collection::vec(field(), 0..5),
            address in 0..6_usize,
        ) {
            fields.insert(address.min(fields.len()), r#""address":"h:1""#.to_owned());
            let json = format!("{{{}}}", fields.join(","));
            let Ok(plain) = serde_json::from_str::<PlainAttributes<'_>>(&json) else {
                return Ok(());
            };
            let raw: RawAttributes<'_> = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(plain.address, &*raw.address);
            let key = Key::new("/a").unwrap();
            let (one, ignored) = plain.into_instance(key.clone());
            let (two, also_ignored) = raw.into_instance(key);
            prop_assert_eq!(one.said_weight(), two.said_weight());
            prop_assert!(one.metadata_values().eq(two.metadata_values()));
            prop_assert_eq!((one, ignored), (two, also_ignored));
        }
    }
}
