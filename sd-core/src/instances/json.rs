//! The JSON form of instances, for the default codec and, with the feature `serde`, for
//! [`Instance`].

use super::{instance::Instance, status::Status};
use crate::registry::Key;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// An instance without its key. Only the address is required; unknown fields are ignored.
#[derive(Serialize, Deserialize)]
pub(super) struct Attributes<'a> {
    pub(super) address: Cow<'a, str>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<Box<str>>,
    #[serde(default, with = "StatusText")]
    status: Status,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Status", rename_all = "lowercase")]
enum StatusText {
    Serving,
    Draining,
}

fn one() -> u32 {
    1
}

fn is_one(weight: &u32) -> bool {
    *weight == 1
}

impl<'a> Attributes<'a> {
    pub(super) fn of(instance: &'a Instance) -> Self {
        let metadata = instance.all_metadata();
        Self {
            address: instance.address().into(),
            weight: instance.weight(),
            zone: instance.zone().map(Into::into),
            status: instance.status(),
            metadata: metadata
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    pub(super) fn into_instance(self, key: Key) -> Instance {
        let mut instance = Instance::new(key, self.address)
            .with_weight(self.weight)
            .with_status(self.status);
        if let Some(zone) = self.zone {
            instance = instance.with_zone(zone);
        }
        for (name, value) in self.metadata {
            instance = instance.with_metadata(name, value);
        }
        instance
    }
}

/// The same as somebody else may have written it, each attribute still to be read.
#[derive(Deserialize)]
pub(super) struct RawAttributes<'a> {
    #[serde(borrow)]
    address: Cow<'a, str>,
    #[serde(default, borrow, deserialize_with = "present")]
    weight: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    zone: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    status: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    metadata: Option<&'a RawValue>,
}

/// `null` is a value like any other.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(transparent)]
struct ReadStatus(#[serde(with = "StatusText")] Status);

impl<'a> RawAttributes<'a> {
    /// The attributes that can be read, and what is wrong with the others.
    pub(super) fn read(self) -> (Attributes<'a>, Vec<&'static str>) {
        let mut ignored = Vec::new();
        let weight = read(
            "the weight is not a whole number from 0 to 4294967295",
            self.weight,
            &mut ignored,
        );
        let zone = read("the zone is not text", self.zone, &mut ignored);
        let status: Option<ReadStatus> = read(
            "the status is neither serving nor draining",
            self.status,
            &mut ignored,
        );
        let pieces: Option<BTreeMap<String, &RawValue>> =
            read("the metadata is not an object", self.metadata, &mut ignored);
        let mut metadata = BTreeMap::new();
        for (name, value) in pieces.unwrap_or_default() {
            let value = read("a piece of metadata is not text", Some(value), &mut ignored);
            if let Some(value) = value {
                metadata.insert(name, value);
            }
        }
        let attributes = Attributes {
            address: self.address,
            weight: weight.unwrap_or_else(one),
            zone,
            status: status.map_or(Status::Serving, |ReadStatus(status)| status),
            metadata,
        };
        (attributes, ignored)
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

#[cfg(feature = "serde")]
mod public {
    use super::*;
    use serde::{Serializer, de};

    /// `serving` or `draining`.
    impl Serialize for Status {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            StatusText::serialize(self, serializer)
        }
    }

    /// `serving` or `draining`.
    impl<'de> Deserialize<'de> for Status {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            StatusText::deserialize(deserializer)
        }
    }

    #[derive(Serialize, Deserialize)]
    struct WithKey<'a> {
        key: Cow<'a, str>,
        #[serde(flatten)]
        attributes: Attributes<'a>,
    }

    impl Serialize for Instance {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let key = self.key().as_str().into();
            let attributes = Attributes::of(self);
            WithKey { key, attributes }.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Instance {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let WithKey { key, attributes } = WithKey::deserialize(deserializer)?;
            let key = Key::new(key).map_err(de::Error::custom)?;
            Ok(attributes.into_instance(key))
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
