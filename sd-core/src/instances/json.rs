//! The JSON form of instances, for the default codec and, with the feature `serde`, for
//! [`Instance`].

use super::{instance::Instance, status::Status};
use crate::registry::Key;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

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
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, Piece<'a>>,
}

/// A piece of metadata.
enum Piece<'a> {
    Text(&'a str),
    Json(&'a str),
}

impl Serialize for Piece<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            // Text that is no JSON after all is written as text.
            Self::Json(json) => match serde_json::from_str::<&RawValue>(json) {
                Ok(json) => json.serialize(serializer),
                Err(_) => serializer.serialize_str(json),
            },
        }
    }
}

impl<'a> Attributes<'a> {
    pub(super) fn of(instance: &'a Instance) -> Self {
        let piece = |name, value| match instance.is_json_metadata(name) {
            true => Piece::Json(value),
            false => Piece::Text(value),
        };
        let metadata = instance.all_metadata();
        Self {
            address: instance.address(),
            addresses: instance.other_addresses().collect(),
            weight: instance.said_weight().filter(|weight| *weight != 1),
            zone: instance.zone(),
            status: instance.status_word(),
            id: instance.id(),
            version: instance.version(),
            metadata: metadata
                .map(|(name, value)| (name, piece(name, value)))
                .collect(),
        }
    }
}

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
        let addresses: Option<Vec<Box<str>>> = read(
            "the addresses are no list of texts",
            self.addresses,
            &mut ignored,
        );
        for address in addresses.unwrap_or_default() {
            instance = instance.with_other_address(address);
        }
        if let Some(weight) = self
            .weight
            .and_then(|weight| read_weight(weight, &mut ignored))
        {
            instance = instance.with_weight(weight);
        }
        if let Some(zone) = read::<Box<str>>("the zone is not text", self.zone, &mut ignored) {
            instance = instance.with_zone(zone);
        }
        if let Some(word) = read::<Box<str>>("the status is not text", self.status, &mut ignored) {
            instance = with_status_word(instance, word);
            if instance.status() == Status::Unknown {
                ignored.push("the status is neither serving nor draining");
            }
        }
        if let Some(id) = read::<Box<str>>("the id is not text", self.id, &mut ignored) {
            instance = instance.with_id(id);
        }
        if let Some(version) =
            read::<Box<str>>("the version is not text", self.version, &mut ignored)
        {
            instance = instance.with_version(version);
        }
        let pieces: Option<BTreeMap<String, &RawValue>> =
            read("the metadata is not an object", self.metadata, &mut ignored);
        for (name, value) in pieces.unwrap_or_default() {
            instance = match serde_json::from_str::<String>(value.get()) {
                Ok(text) => instance.with_metadata(name, text),
                Err(_) => instance.with_json_metadata(name, value.get()),
            };
        }
        (instance, ignored)
    }
}

pub(super) fn with_status_word(instance: Instance, word: impl Into<Box<str>>) -> Instance {
    let word = word.into();
    match &*word {
        "serving" => instance.with_status(Status::Serving),
        "draining" => instance.with_status(Status::Draining),
        _ => instance.with_unknown_status(word),
    }
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
            for (name, value) in read.metadata {
                instance = match value {
                    serde_json::Value::String(text) => instance.with_metadata(name, text),
                    other => instance.with_json_metadata(name, other.to_string()),
                };
            }
            Ok(instance)
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
